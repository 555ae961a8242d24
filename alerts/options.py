"""What the process can be told; the environment is read by the command line, not here."""

from __future__ import annotations

import dataclasses
import datetime as dt


@dataclasses.dataclass(frozen=True, slots=True)
class AlertOptions:
    """Frozen policy of the process."""

    database_url: str
    every_seconds: float = 10.0  # from the beginning of a pass to that of the next
    within_seconds: float = 60.0  # a pass of more is given up
    retry_seconds: float = 2.0  # after a failure
    keep: dt.timedelta = dt.timedelta(days=400)  # alerts that are over
