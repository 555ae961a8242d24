"""Bucket boundaries found the slow and plain way: look at the local clock every minute, or at another stride."""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo

UTC = dt.UTC
MINUTE = dt.timedelta(minutes=1)


def is_boundary(moment: dt.datetime, before: dt.datetime, step: str) -> bool:
    """Tell whether a bucket begins at a local moment, ``before`` being the local moment one stride earlier."""
    is_new_day = moment.date() != before.date()
    if step.startswith("PT"):
        amount, unit = int(step[2:-1]), step[-1]
        seconds = amount * {"S": 1, "M": 60, "H": 3600}[unit]
        return is_new_day or (moment.hour * 3600 + moment.minute * 60 + moment.second) % seconds == 0
    return (
        is_new_day
        and {
            "P1D": True,
            "P1W": moment.isocalendar().week != before.isocalendar().week,
            "P1M": moment.month != before.month,
            "P3M": (moment.month - 1) // 3 != (before.month - 1) // 3,
            "P1Y": moment.year != before.year,
        }[step]
    )


@functools.cache
def boundaries_between(
    start: dt.datetime, end: dt.datetime, step: str, zone: str, stride: dt.timedelta = MINUTE
) -> list[dt.datetime]:
    """Return every boundary from ``start`` to ``end``, both included, in UTC.

    Every boundary must be a multiple of ``stride`` after ``start``.
    """
    local = zoneinfo.ZoneInfo(zone)
    found = []
    moment = start
    while moment <= end:
        if is_boundary(moment.astimezone(local), (moment - stride).astimezone(local), step):
            found.append(moment)
        moment += stride
    return found
