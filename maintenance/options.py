"""What maintenance can be told; the environment is read by the command line, not here."""

from __future__ import annotations

import dataclasses
import datetime as dt


@dataclasses.dataclass(frozen=True, slots=True)
class MaintenanceOptions:
    """Frozen policy of the process."""

    database_url: str
    retry_seconds: float = 2.0  # from a loop's failure to its next start
    rollup_seconds: float = 5.0  # between two rounds of the rollups
    rollup_grace_seconds: float = 15.0  # from the end of a bucket until it is made
    watch_seconds: float = 5.0  # how often it is looked whether the database answers
    retention_seconds: float = 3600.0  # between two rounds
    compression_seconds: float = 3600.0
    # Later than nearly everything comes late: what comes later still is stored all the same, at a greater cost.
    compress_after: dt.timedelta = dt.timedelta(days=7)
