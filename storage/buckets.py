"""Buckets of time: steps, and where they begin in a city's own calendar.

The boundaries are made here, by zone, and the database only sorts rows between them. Its own ``time_bucket``
with a zone takes twice as long for the same rows and makes one of the two hours that a clock set back shows
twice.
"""

from __future__ import annotations

import bisect
import dataclasses
import datetime as dt
import enum
import math
import re
import zoneinfo
from collections.abc import Iterator

from sensors.times import DAY, SECOND, from_microseconds, parse_duration, to_microseconds


class Calendar(enum.StrEnum):
    """What a step counts: a fixed time within a day, or days, weeks and months of the calendar."""

    TIME = "time"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """The width of a bucket: ``count`` µs of a TIME step, which divides a day, or 1 day, 1 week, n months."""

    text: str
    calendar: Calendar
    count: int

    @property
    def shortest(self) -> int:
        """Microseconds of the shortest bucket there can be but for a clock that is changed."""
        return self.count * _SHORTEST[self.calendar]


_SHORTEST = {Calendar.TIME: 1, Calendar.DAY: DAY, Calendar.WEEK: 7 * DAY, Calendar.MONTH: 28 * DAY}
# By which a bucket may be longer than its step: no clock was ever set by more, but over the date line.
_LARGEST_CHANGE = 3 * 3600 * SECOND
_MONTHS = re.compile(r"P(?:(?P<years>\d{1,3})Y)?(?:(?P<months>\d{1,4})M)?")

# What ``auto`` chooses from, and what a refusal proposes.
LADDER = (
    *("PT1S", "PT5S", "PT15S", "PT30S", "PT1M", "PT5M", "PT15M", "PT30M", "PT1H", "PT3H", "PT6H", "PT12H"),
    *("P1D", "P1W", "P1M", "P3M", "P1Y"),
)


def parse_step(text: str) -> Step:
    """Return the step of an ISO 8601 duration; ValueError says which steps there are."""
    match = _MONTHS.fullmatch(text)
    if match and (match["years"] or match["months"]):
        months = 12 * int(match["years"] or 0) + int(match["months"] or 0)
        if months == 0 or (12 % months and months != 12):
            raise ValueError(f"step {text} does not divide a year; ask for P1M, P3M, P6M or P1Y")
        return Step(text, Calendar.MONTH, months)
    length = parse_duration(text)
    if length == DAY:
        return Step(text, Calendar.DAY, 1)
    if length == 7 * DAY:
        return Step(text, Calendar.WEEK, 1)
    if length > DAY:
        raise ValueError(f"step {text} is longer than a day; ask for P1D, P1W, P1M, P3M or P1Y")
    if length < SECOND:
        raise ValueError(f"step {text} is shorter than a second, the least there is; ask for PT1S")
    if DAY % length:
        raise ValueError(f"step {text} does not divide a day; ask for {_nearest_divisor(length)}")
    return Step(text, Calendar.TIME, length)


def _nearest_divisor(length: int) -> str:
    steps = [step for step in map(parse_step, LADDER) if step.calendar in (Calendar.TIME, Calendar.DAY)]
    return min(steps, key=lambda step: abs(math.log(step.shortest / length))).text


def finest_step(start: int, end: int, buckets: int) -> Step:
    """Return the finest step of the ladder that cuts a range (Unix µs) into at most about ``buckets``."""
    steps = [parse_step(text) for text in LADDER]
    return next((step for step in steps if (end - start) / step.shortest <= buckets), steps[-1])


def count_at_most(start: int, end: int, step: Step) -> int:
    """Return how many buckets a range (Unix µs) has at most, without making them."""
    return (end - start) // step.shortest + 2


def boundaries(start: int, end: int, step: Step, zone: zoneinfo.ZoneInfo) -> list[int]:
    """Return the rising boundaries (Unix µs) of the buckets that cover a range, one more than buckets.

    A boundary is every instant at which the zone's clock shows a multiple of the step, and the beginning of
    each local day, week or month. So PT1H has 25 buckets on the day that a clock is set back an hour, and
    P1D one of 25 hours.
    """
    edges = sorted(set(_edges(start, end, step, zone)))
    first = bisect.bisect_right(edges, start) - 1
    return edges[first : bisect.bisect_left(edges, end) + 1]


def _edges(start: int, end: int, step: Step, zone: zoneinfo.ZoneInfo) -> Iterator[int]:
    """Yield the boundaries from one before ``start`` to one after ``end``, and a few beyond, in no order."""
    day = _first_day(from_microseconds(start).astimezone(zone).date(), step)
    while True:
        following = _following_day(day, step)
        midnight, next_midnight = _midnight(day, zone), _midnight(following, zone)
        yield midnight
        if step.calendar is Calendar.TIME:
            margin = step.count + _LARGEST_CHANGE
            window = max(midnight, start - margin), min(next_midnight, end + margin)
            for since, until, offset in _constant_offsets(midnight, next_midnight, zone):
                low, high = max(since, window[0]), min(until, window[1])
                yield from range(low + -(low + offset) % step.count, high, step.count)
        if midnight >= end:
            return
        day = following


def _first_day(day: dt.date, step: Step) -> dt.date:
    if step.calendar is Calendar.WEEK:
        return day - dt.timedelta(days=day.weekday())
    if step.calendar is Calendar.MONTH:
        return day.replace(month=(day.month - 1) // step.count * step.count + 1, day=1)
    # A day earlier, because a clock that is set back over midnight shows the same date twice.
    return day - dt.timedelta(days=1)


def _following_day(day: dt.date, step: Step) -> dt.date:
    if step.calendar is Calendar.MONTH:
        months = day.year * 12 + day.month - 1 + step.count
        return dt.date(months // 12, months % 12 + 1, 1)
    return day + dt.timedelta(days=7 if step.calendar is Calendar.WEEK else 1)


def _midnight(day: dt.date, zone: zoneinfo.ZoneInfo) -> int:
    # Where a clock skips midnight this is the instant of the skip; where it shows it twice, the first.
    return to_microseconds(dt.datetime.combine(day, dt.time(), zone))


def _offset(instant: int, zone: zoneinfo.ZoneInfo) -> int:
    offset = from_microseconds(instant).astimezone(zone).utcoffset()
    return (offset or dt.timedelta()) // dt.timedelta(microseconds=1)


def _constant_offsets(start: int, end: int, zone: zoneinfo.ZoneInfo) -> list[tuple[int, int, int]]:
    """Return the (start, end, offset) parts of one local day; nobody sets a clock twice in a day."""
    before, after = _offset(start, zone), _offset(end - 1, zone)
    if before == after:
        return [(start, end, before)]
    change = bisect.bisect_left(
        range(start, end), 1, key=lambda instant: int(_offset(instant, zone) != before)
    )
    return [(start, start + change, before), (start + change, end, after)]
