"""What happened, tick by tick, and how far back one who was away can go on.

Machines without clock, event loop or I/O; times are Unix µs.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from api.cursors import decode_cursor, encode_cursor
from api.live_picture import News, Place
from api.problems import ProblemError
from sensors.times import SECOND

_SCOPE = "live"
# Processes tell of the same at different moments, by clocks that are not quite the same.
_SLACK = 3 * SECOND


class Cursor(NamedTuple):
    """Up to where a client was told: all changes of transactions before ``begin``, and all that passed until ``time``.

    It means the same in every process.
    """

    begin: int
    time: int

    def encode(self) -> str:
        """Return it as the id of an event."""
        return encode_cursor(_SCOPE, *self)


def read_cursor(text: str) -> Cursor | None:
    """Return the cursor that an id is, None if it is none of ours."""
    try:
        return Cursor(*decode_cursor(text, _SCOPE, int, int))
    except ProblemError:
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class Tick:
    """What is told at one time: for each topic, news by the part of the city that they are of.

    ``highest`` is the number of the last transaction that something of it came with, 0 without any.
    """

    cursor: Cursor
    news: Mapping[str, Mapping[Place, Sequence[News]]]
    size: int
    highest: int


def make_tick(cursor: Cursor, news: Mapping[str, Iterable[News]]) -> Tick:
    """Return a tick of news by topic."""
    sorted_: dict[str, dict[Place, list[News]]] = {}
    size = highest = 0
    for topic, every in news.items():
        of_place = sorted_[topic] = {}
        for one in every:
            of_place.setdefault(one.place, []).append(one)
            size += 1
            highest = max(highest, one.changed)
    return Tick(cursor, sorted_, size, highest)


class LookBack:
    """The last ticks: of so many seconds, and with so many news together."""

    def __init__(self, seconds: float, most: int, first: Tick, since: Cursor) -> None:
        """Begin with a tick that has all that happened after ``since``."""
        self._microseconds = round(seconds * SECOND)
        self._most = most
        self._ticks = collections.deque([first])
        self._size = first.size
        self._since = since
        self._exactly: Cursor | None = None  # of the last tick that is gone: all after it is here

    @property
    def newest(self) -> Cursor:
        """Up to where all is known."""
        return self._ticks[-1].cursor

    def add(self, tick: Tick) -> None:
        """Note what happened since the last; the oldest goes."""
        self._ticks.append(tick)
        self._size += tick.size
        oldest = tick.cursor.time - self._microseconds
        while len(self._ticks) > 1 and (self._size > self._most or self._ticks[0].cursor.time < oldest):
            gone = self._ticks.popleft()
            self._size -= gone.size
            self._exactly = gone.cursor
            self._since = Cursor(max(self._since.begin, gone.highest + 1), gone.cursor.time)

    def place_after(self, cursor: Cursor) -> int | None:
        """Return the place of the first tick with something that was not told yet, and perhaps with some that was; None
        where not all of that is known any more. It holds until the next tick."""
        if cursor == self._exactly:
            return 0
        places = {tick.cursor: place for place, tick in enumerate(self._ticks)}
        if cursor in places:
            return places[cursor] + 1
        # It is of another process, or from before this one began, or of a database that was restored since.
        is_older = cursor.begin < self._since.begin or cursor.time < self._since.time
        is_of_another = cursor.begin > self.newest.begin and cursor.time < self.newest.time - _SLACK
        if is_older or is_of_another:
            return None
        return next(
            (
                place
                for place, tick in enumerate(self._ticks)
                if tick.cursor.time >= cursor.time - _SLACK or tick.highest >= cursor.begin
            ),
            len(self._ticks),
        )

    def from_place(self, first: int) -> Tick:
        """Return as one tick all that were at ``place_after``, and later."""
        news: dict[str, dict[Place, list[News]]] = {}
        for tick in itertools.islice(self._ticks, first, None):
            for topic, places in tick.news.items():
                for place, some in places.items():
                    news.setdefault(topic, {}).setdefault(place, []).extend(some)
        return Tick(self.newest, news, 0, 0)
