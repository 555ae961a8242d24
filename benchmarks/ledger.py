"""What was sent and what was promised of it, on disk; at the end, held against what the database has.

The ledger is a file of records that are only appended and are on disk before the next ones are written. Whoever
dies in between leaves a torn record at most, and that is not read.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import pathlib
import struct
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import asyncpg
import numpy as np
import numpy.typing as npt

from benchmarks.counted import Counted, turn_of

_RECORD = struct.Struct("<BII")  # event, first reading, how many


class Event(enum.IntEnum):
    """What the publisher saw of a reading."""

    SENT = 1  # written to a socket, once or more
    ACKNOWLEDGED = 2  # the broker's PUBACK: a promise of the broker
    UNHEARD = 3  # PUBACK that says: nobody is subscribed. No promise
    REFUSED = 4  # PUBACK with an error
    STORED = 5  # the receipt: a promise of the platform


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = length = 0
    for number in sorted(numbers):
        if length and number == first + length:
            length += 1
            continue
        if length:
            yield first, length
        first, length = number, 1
    if length:
        yield first, length


class LedgerWriter:
    """Appends to a ledger; ``sync`` returns when everything noted is on disk."""

    def __init__(self, path: pathlib.Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._noted: dict[Event, list[int]] = {event: [] for event in Event}

    def note(self, event: Event, numbers: Iterable[int]) -> None:
        """Remember until the next ``sync``."""
        self._noted[event] += numbers

    def sync(self) -> None:
        """Write what was noted, sent before acknowledged, and have it on disk."""
        body = b"".join(
            [_RECORD.pack(event, *run) for event, numbers in self._noted.items() for run in _runs(numbers)]
        )
        if body:
            os.write(self._file, body)
            os.fdatasync(self._file)
        for numbers in self._noted.values():
            numbers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.sync()
        os.close(self._file)


@dataclasses.dataclass(frozen=True, slots=True)
class Ledger:
    """Which readings had which event; ``seen[event]`` is boolean, shape (count,)."""

    seen: dict[Event, npt.NDArray[np.bool_]]

    def numbers(self, event: Event) -> npt.NDArray[np.intp]:
        """Return the readings that had an event, ascending."""
        return np.flatnonzero(self.seen[event])


def read_ledger(path: pathlib.Path, count: int) -> Ledger:
    """Return what a ledger says of the readings below ``count``."""
    body = path.read_bytes()
    seen = {event: np.zeros(count, dtype=bool) for event in Event}
    for event, first, length in _RECORD.iter_unpack(body[: len(body) // _RECORD.size * _RECORD.size]):
        seen[Event(event)][first : first + length] = True
    return Ledger(seen)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """How ledger and database differ, in readings. Nothing lost, doubled or invented is what must be."""

    sent: int
    promised: int
    stored: int
    letters: int
    lost: int
    doubled: int
    invented: int
    lost_numbers: npt.NDArray[np.intp] = dataclasses.field(repr=False)

    @property
    def is_clean(self) -> bool:
        """Whether everything promised is there, once."""
        return not (self.lost or self.doubled or self.invented)


async def count_stored(connection: asyncpg.Connection, load: Counted) -> npt.NDArray[np.int64]:
    """Return how many rows each reading has, shape (count + 1,); the last are rows of no reading of the load."""
    rows = np.zeros(load.count + 1, dtype=np.int64)
    index = {name: number for number, name in enumerate(load.device_names())}
    query = """
        SELECT id, pm2_5, count(*) AS rows FROM reading.air_quality JOIN alatau.device USING (device_id)
        WHERE id = ANY($1) GROUP BY id, pm2_5
    """
    async with connection.transaction():
        async for row in connection.cursor(query, list(index), prefetch=10_000):
            turn = -1 if row["pm2_5"] is None else turn_of(row["pm2_5"])
            number = turn * load.devices + index[row["id"]]
            rows[number if 0 <= number < load.count else load.count] += row["rows"]
    return rows


async def count_letters(connection: asyncpg.Connection, load: Counted) -> int:
    """Return how many messages of a load became dead letters, those folded into another one included."""
    folded = await connection.fetchval(
        """
        SELECT count(*) FROM information_schema.columns
        WHERE (table_schema, table_name, column_name) = ('alatau', 'dead_letter', 'repeats')
        """
    )
    counted = "sum(1 + repeats)" if folded else "count(*)"
    letters = await connection.fetchval(
        f"SELECT COALESCE({counted}, 0) FROM alatau.dead_letter WHERE topic LIKE '%/' || $1 || '-%'",
        load.prefix,
    )
    return int(letters)


async def compare(
    connection: asyncpg.Connection, load: Counted, ledger: Ledger, promise: Event = Event.ACKNOWLEDGED
) -> Verdict:
    """Hold the database against what was sent and, with ``promise``, may not be missing."""
    rows, letters = await count_stored(connection, load), await count_letters(connection, load)
    sent, promised = ledger.seen[Event.SENT], ledger.seen[promise]
    faulty = np.fromiter(map(load.is_faulty, range(load.count)), dtype=bool, count=load.count)
    stored, strange = rows[:-1], int(rows[-1])
    lost = promised & ~faulty & (stored == 0)
    lost_letters = max(0, int((promised & faulty).sum()) - letters)
    doubled_letters = max(0, letters - int((sent & faulty).sum()))
    return Verdict(
        sent=int(sent.sum()),
        promised=int(promised.sum()),
        stored=int((stored > 0).sum()),
        letters=letters,
        lost=int(lost.sum()) + lost_letters,
        doubled=int((stored[stored > 1] - 1).sum()) + doubled_letters,
        invented=strange + int(stored[~sent | faulty].sum()),
        lost_numbers=np.flatnonzero(lost),
    )
