"""Numbers of readings on the real database: what is through, what is missing, what was given up."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Sequence

import asyncpg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensors.catalogue import Catalogue
from sensors.checks import Reason
from sensors.kinds import DeviceSpec, Kind
from sensors.readings import ReadingBatch
from sensors.times import SECOND
from storage.database import connect
from storage.dead_letters import DeadLetter, Letters
from storage.devices import register_devices
from storage.gaps import GapState, list_gaps
from storage.sequences import REACH, Clockless, Entered, Numbers, enter_numbers, trim_gaps
from storage.writer import Batch, Written, write
from tests.conftest import Database

pytestmark = pytest.mark.servers

NOW = 1_767_225_600 * SECOND
_numbers = itertools.count(1)
Names = dict[int, str]


@pytest.fixture(scope="module")
async def workers(database: Database) -> AsyncIterator[list[asyncpg.Connection]]:
    """Connections of three workers."""
    connections = [await connect(database.ingest_url, application="test") for _ in range(3)]
    yield connections
    for connection in connections:
        await connection.close()


@pytest.fixture(scope="module")
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database.owner_url, application="test")
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
def noise(catalogue: Catalogue) -> Kind:
    return catalogue.kind_of["noise"]


async def new_device(owner: asyncpg.Connection, catalogue: Catalogue) -> tuple[str, int]:
    name = f"sequence-{next(_numbers)}"
    return name, (await register_devices(owner, [DeviceSpec(name, "noise", "gate")], catalogue))[name]


def numbers(device: int, *runs: tuple[int, int], oldest: int = 1) -> Numbers:
    count = len(runs)
    first, last = (np.array([run[edge] for run in runs], dtype=np.int64) for edge in (0, 1))
    return Numbers(np.full(count, device, np.int32), first, last, np.full(count, oldest, np.int64))


async def enter(connection: asyncpg.Connection, given_: Numbers) -> Entered:
    async with connection.transaction():
        return await enter_numbers(connection, given_)


async def gaps(owner: asyncpg.Connection, device: str, state: GapState) -> list[tuple[int, int]]:
    return [(gap.first, gap.last) for gap in await list_gaps(owner, device=device, state=state, limit=1000)]


def holes(present: Iterable[int], end: int) -> list[tuple[int, int]]:
    """Return the runs of numbers from 1 to ``end`` that are not present."""
    edges = sorted({0, end + 1, *(number for number in present if number <= end)})
    return [(a + 1, b - 1) for a, b in itertools.pairwise(edges) if b - a > 1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sent=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2)), min_size=1, max_size=40),
    size=st.integers(1, 8),
)
async def test_any_order_and_any_partition_over_workers_give_the_numbers_sent(
    workers: Sequence[asyncpg.Connection],
    owner: asyncpg.Connection,
    catalogue: Catalogue,
    sent: list[tuple[int, int]],
    size: int,
) -> None:
    """Each worker commits its share in parts of ``size``, all workers at once."""
    name, device = await new_device(owner, catalogue)

    async def commit(worker: int) -> list[int]:
        mine = [number for number, chosen in sent if chosen == worker]
        said = []
        for start in range(0, len(mine), size):
            runs = [(number, number) for number in mine[start : start + size]]
            said.append((await enter(workers[worker], numbers(device, *runs))).through[device])
        return said

    said = await asyncio.gather(*map(commit, range(3)))
    every = {number for number, _ in sent}
    through = next(number for number in itertools.count(1) if number not in every) - 1
    assert max(itertools.chain(*said)) == through
    assert all(part == sorted(part) for part in said)
    assert await gaps(owner, name, GapState.OPEN) == holes(every, max(every))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=25))
async def test_what_a_device_gives_up_is_noted_and_what_comes_all_the_same_is_not_missing(
    workers: Sequence[asyncpg.Connection],
    owner: asyncpg.Connection,
    catalogue: Catalogue,
    sent: list[tuple[int, int]],
) -> None:
    name, device = await new_device(owner, catalogue)
    came: set[int] = set()
    oldest = 1
    for number, stated in sent:
        stated = min(number, stated)
        entered = await enter(workers[0], numbers(device, (number, number), oldest=stated))
        came.add(number)
        oldest = max(oldest, stated)
        settled = came | set(range(1, oldest))
        first_missing = next(one for one in itertools.count(1) if one not in settled)
        assert entered.through == {device: first_missing - 1}
    assert await gaps(owner, name, GapState.OPEN) == holes(settled, max(came))
    given_up = {
        number
        for first, last in await gaps(owner, name, GapState.ABANDONED)
        for number in range(first, last + 1)
    }
    assert given_up == set(range(1, oldest)) - came


async def test_a_gap_is_detected_once_and_closes(
    workers: Sequence[asyncpg.Connection], owner: asyncpg.Connection, catalogue: Catalogue
) -> None:
    name, device = await new_device(owner, catalogue)
    steps = [((1, 2), 2, 0), ((4, 4), 2, 1), ((6, 6), 2, 0), ((3, 3), 4, 0), ((5, 5), 6, 0), ((8, 8), 6, 1)]
    for run, through, detected in steps:
        entered = await enter(workers[0], numbers(device, run))
        assert (entered.through[device], entered.detected, entered.abandoned) == (through, detected, 0)
    (gap,) = await list_gaps(owner, device=name)
    assert (gap.state, gap.first, gap.last, gap.missing) == (GapState.OPEN, 7, 7, 1)


async def test_a_device_that_forgot_its_counter_goes_on_from_its_clock(
    workers: Sequence[asyncpg.Connection], owner: asyncpg.Connection, catalogue: Catalogue
) -> None:
    name, device = await new_device(owner, catalogue)
    await enter(workers[0], numbers(device, (1, 500)))
    start = 1_795_341_600_000
    entered = await enter(workers[0], numbers(device, (start, start), oldest=start))
    assert (entered.through[device], entered.abandoned) == (start, 1)
    assert await gaps(owner, name, GapState.OPEN) == []
    assert await gaps(owner, name, GapState.ABANDONED) == [(501, start - 1)]
    assert (await enter(workers[0], numbers(device, (start + 1, start + 1)))).through[device] == start + 1


@pytest.mark.parametrize("before", [0, 20_000])
async def test_numbers_far_beyond_the_first_missing_one_wait_for_the_gap_to_close(
    workers: Sequence[asyncpg.Connection], owner: asyncpg.Connection, catalogue: Catalogue, before: int
) -> None:
    name, device = await new_device(owner, catalogue)
    if before:
        await enter(workers[0], numbers(device, (1, before)))
    last = before + 1 + REACH
    entered = await enter(workers[0], numbers(device, (last, last + 3)))
    assert entered.through[device] == before
    assert await gaps(owner, name, GapState.OPEN) == [(before + 1, last - 1), (last + 1, last + 3)]
    closed = await enter(workers[0], numbers(device, (before + 1, last - 1)))
    assert closed.through[device] == last, "within reach it was entered, beyond not"
    again = await enter(workers[0], numbers(device, (last + 1, last + 3)))
    assert again.through[device] == last + 3
    assert await gaps(owner, name, GapState.OPEN) == []


async def test_the_row_of_a_device_is_bounded(
    workers: Sequence[asyncpg.Connection], owner: asyncpg.Connection, catalogue: Catalogue
) -> None:
    _, device = await new_device(owner, catalogue)
    for start in range(2, 60_000, 5_000):
        await enter(workers[0], numbers(device, *((n, n) for n in range(start, start + 5_000, 2))))
    runs = await owner.fetchval(
        "SELECT count(*) FROM alatau.sequence, unnest(received) WHERE device_id = $1", device
    )
    assert runs == REACH // 2


def clockless(noise: Kind, device: int, given_: Sequence[int], time: int) -> Batch:
    """Return a batch of readings without a time, which arrived from ``time`` on."""
    count = len(given_)
    arrived = np.arange(time, time + count, dtype=np.int64)
    values = np.full((count, len(noise.columns)), 50.0)
    readings = ReadingBatch(noise, np.full(count, device, np.int32), arrived, arrived, values)
    runs = numbers(device, *((number, number) for number in given_))
    return Batch([], numbers=runs, clockless=[Clockless(readings, np.array(given_, dtype=np.int64))])


async def count(owner: asyncpg.Connection, device: int) -> int:
    return int(await owner.fetchval("SELECT count(*) FROM reading.noise WHERE device_id = $1", device))


async def test_a_reading_without_a_time_is_stored_once_by_its_number(
    workers: Sequence[asyncpg.Connection], owner: asyncpg.Connection, catalogue: Catalogue, noise: Kind
) -> None:
    _, device = await new_device(owner, catalogue)
    first = await write(workers[0], clockless(noise, device, [1, 2, 2, 3], NOW))
    assert (first.stored, first.duplicate) == (3, 1)
    again = await write(workers[0], clockless(noise, device, [2, 3, 4], NOW + SECOND))
    assert (again.stored, again.duplicate) == (1, 2)
    assert [len(batch) for batch in again.clockless] == [1]
    assert again.entered is not None
    assert again.entered.through == {device: 4}
    assert await count(owner, device) == 4


async def test_a_number_given_up_that_comes_all_the_same_is_stored_once(
    workers: Sequence[asyncpg.Connection], owner: asyncpg.Connection, catalogue: Catalogue, noise: Kind
) -> None:
    _, device = await new_device(owner, catalogue)
    await enter(workers[0], numbers(device, (9, 9), oldest=9))
    for expected in (Written(stored=1), Written(duplicate=1)):
        written = await write(workers[0], clockless(noise, device, [4], NOW + SECOND))
        assert (written.stored, written.duplicate) == (expected.stored, expected.duplicate)
    assert await count(owner, device) == 1


@pytest.mark.parametrize("before", [0, 1])
async def test_workers_with_the_same_reading_without_a_time_store_it_once(
    workers: Sequence[asyncpg.Connection],
    owner: asyncpg.Connection,
    catalogue: Catalogue,
    noise: Kind,
    before: int,
) -> None:
    """Whether the device has a row to lock already, or the workers meet over its first one."""
    for _ in range(20):
        _, device = await new_device(owner, catalogue)
        if before:
            await enter(workers[0], numbers(device, (1, before)))
        batches = [
            clockless(noise, device, range(before + 1, 30), NOW + worker * SECOND) for worker in range(3)
        ]
        written = await asyncio.gather(*map(write, workers, batches))
        assert sum(one.stored for one in written) == await count(owner, device) == 29 - before


async def test_workers_with_the_same_devices_do_not_wait_in_a_circle(
    workers: Sequence[asyncpg.Connection], owner: asyncpg.Connection, catalogue: Catalogue, noise: Kind
) -> None:
    specs = [DeviceSpec(f"circle-{number}", "noise", "gate") for number in range(500)]
    devices = sorted((await register_devices(owner, specs, catalogue)).values())

    async def commit(worker: int) -> None:
        order = np.array(devices[:: 1 if worker else -1], np.int32)
        for number in range(1, 21):
            columns = (np.full(len(order), value, np.int64) for value in (number, number, 1))
            # Every fourth one has to lock the sequences before it enters.
            some = clockless(noise, devices[worker], [number], NOW + worker * SECOND + number).clockless
            await write(
                workers[worker],
                Batch([], numbers=Numbers(order, *columns), clockless=some if number % 4 == 0 else ()),
            )

    await asyncio.gather(*map(commit, range(3)))
    whole = await owner.fetchval(
        "SELECT count(*) FROM alatau.sequence WHERE device_id = ANY($1) AND received = '{[1,21)}'", devices
    )
    assert whole == 500


async def test_numbers_are_entered_with_their_rows_or_not_at_all(
    workers: Sequence[asyncpg.Connection], owner: asyncpg.Connection, catalogue: Catalogue, noise: Kind
) -> None:
    name, device = await new_device(owner, catalogue)
    letter = DeadLetter(NOW, "t", b"x", Reason.UNDECODABLE, "for a test", device_id=-1)
    refused = clockless(noise, device, [1], NOW)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await write(
            workers[0], Batch([], Letters([letter]), numbers=refused.numbers, clockless=refused.clockless)
        )
    assert await list_gaps(owner, device=name) == []
    assert await count(owner, device) == 0
    assert (await write(workers[0], refused)).stored == 1


async def test_notes_of_gaps_are_bounded(
    workers: Sequence[asyncpg.Connection], owner: asyncpg.Connection, catalogue: Catalogue
) -> None:
    name, device = await new_device(owner, catalogue)
    for number in (3, 6, 9, 12):
        await enter(workers[0], numbers(device, (number, number), oldest=number))
    await enter(workers[0], numbers(device, (10, 11)))
    await trim_gaps(workers[0], 2)
    assert await gaps(owner, name, GapState.ABANDONED) == [(7, 8)]
