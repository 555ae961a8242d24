"""How much comes in: rates of the last minute, from counts that are taken when somebody asks."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt

from storage.fleet import Patience
from storage.kinds import Connection
from storage.pulse import Arrivals, Counts, read_arrivals, read_counts

_WINDOW = dt.timedelta(seconds=60)
# Counts are compared with those of this long ago at least: the server tells of a table's rows once a second.
_LEAST = dt.timedelta(seconds=2)
_EVERY = dt.timedelta(seconds=1)
# The letters that are counted from are those of an hour; then it begins anew.
_LONGEST = dt.timedelta(hours=1)
_LATELY = dt.timedelta(minutes=5)


@dataclasses.dataclass(frozen=True, slots=True)
class Rates:
    """Readings a second and refused messages a minute; None until there is something to compare with."""

    readings_per_second: float | None
    refused_per_minute: float | None


class Pulse:
    """Counts of the last minute of this process. Nothing is asked of the database while nobody looks."""

    def __init__(self) -> None:
        self._counts: collections.deque[tuple[dt.datetime, Counts]] = collections.deque()
        self._began: dt.datetime | None = None

    async def beat(self, connection: Connection, now: dt.datetime) -> Rates:
        """Count, and return the rates since up to a minute ago."""
        while self._counts and now - self._counts[0][0] > _WINDOW:
            self._counts.popleft()
        if not self._counts or now - self._counts[-1][0] >= _EVERY:
            self._counts.append((now, await read_counts(connection, now, self._after(now))))
        return self._rates()

    def _after(self, now: dt.datetime) -> int | None:
        if not self._counts or self._began is None or now - self._began > _LONGEST:
            self._counts.clear()
            self._began = now
            return None
        return self._counts[-1][1].after

    def _rates(self) -> Rates:
        (then, before), (now, after) = self._counts[0], self._counts[-1]
        if now - then < _LEAST:
            return Rates(None, None)
        seconds = (now - then).total_seconds()
        return Rates(
            max(0, after.readings - before.readings) / seconds,
            max(0, after.refused - before.refused) / seconds * 60,
        )


async def arrivals(connection: Connection, now: dt.datetime, patience: Patience) -> Arrivals:
    """Return how late readings are that arrived in the last minutes."""
    return await read_arrivals(connection, now, _LATELY, patience)
