"""What maintenance can be told; the environment is read by the command line, not here."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class MaintenanceOptions:
    """Frozen policy of the process."""

    database_url: str
    retry_seconds: float = 2.0  # from a loop's failure to its next start
    rollup_seconds: float = 5.0  # between two rounds of the rollups
    rollup_grace_seconds: float = 15.0  # from the end of a bucket until it is made
    watch_seconds: float = 5.0  # how often it is looked whether the database answers
    status_host: str = "127.0.0.1"
    status_port: int | None = None
