"""Times of devices whose clock may not be set yet, or tells no zone."""

from __future__ import annotations

import datetime as dt
import math
import zoneinfo

from ingest.decoders.gathering import SECONDS_BELOW
from sensors.times import SECOND, to_microseconds

# A clock that was not set since the boot counts from 1970, or from the boot.
SET_FROM = 1_451_606_400.0  # 2016
LOCAL = "a time such as 2026-01-01T05:00:00, or 2026-01-01T05:00:00+05:00"


def unix(seconds: float) -> float:
    """Return Unix seconds, NaN where the clock was not set yet. Raises ValueError where it is no such time."""
    if not seconds < SECONDS_BELOW:
        raise ValueError(seconds)
    return seconds if seconds >= SET_FROM else math.nan


def local(text: str, zone: zoneinfo.ZoneInfo, received: float) -> float:
    """Return Unix seconds of ISO 8601, in ``zone`` where it says none; NaN where the clock was not set yet.

    An hour that comes twice, when clocks are set back, is the one nearer to ``received``. Raises ValueError.
    """
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        return unix(_seconds(moment))
    both = [_seconds(moment.replace(tzinfo=zone, fold=fold)) for fold in (0, 1)]
    return unix(min(both, key=lambda seconds: abs(seconds - received)))


def _seconds(moment: dt.datetime) -> float:
    try:
        return to_microseconds(moment) / SECOND
    except OverflowError:
        raise ValueError(f"{moment} is beyond the years that there are") from None
