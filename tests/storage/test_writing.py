"""Writing on the real database: COPY, merging, dead letters, latest values, roles."""

from __future__ import annotations

import asyncio
import itertools
import pathlib
import sys
from collections.abc import AsyncIterator

import asyncpg
import numpy as np
import numpy.typing as npt
import pytest

from sensors.catalogue import Catalogue
from sensors.checks import Reason
from sensors.kinds import DeviceSpec, Kind
from sensors.readings import ReadingBatch
from sensors.times import DAY, SECOND
from storage.database import connect, read_edition
from storage.dead_letters import DeadLetter, Fold, Letters, trim_letters
from storage.devices import register_devices
from storage.errors import PermanentError, RetryableError, classify
from storage.latest import flush_latest, heal_latest
from storage.migrations import HEAD
from storage.migrations.run import newest_revision
from storage.writer import Batch, Written, write
from tests.conftest import Database

NOW = 1_767_225_600 * SECOND
NAN = np.nan
PROJECT = pathlib.Path(__file__).parents[2]
_numbers = itertools.count(1)


@pytest.fixture
async def ingest(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database.ingest_url, application="test")
    yield connection
    await connection.close()


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database.owner_url, application="test")
    yield connection
    await connection.close()


@pytest.fixture
async def device(owner: asyncpg.Connection, catalogue: Catalogue) -> int:
    """A noise monitor of the test's own."""
    name = f"writing-{next(_numbers)}"
    return (await register_devices(owner, [DeviceSpec(name, "noise", "gate")], catalogue))[name]


@pytest.fixture(scope="module")
def noise(catalogue: Catalogue) -> Kind:
    return catalogue.kind_of["noise"]


def batch_of(kind: Kind, device: int, rows: dict[int, list[float]]) -> ReadingBatch:
    """Readings of one device: seconds after NOW to values."""
    time: npt.NDArray[np.int64] = np.array(list(rows), dtype=np.int64) * SECOND + NOW
    return ReadingBatch(
        kind,
        np.full(len(rows), device, dtype=np.int32),
        time,
        time + 5,
        np.array(list(rows.values()), dtype=float),
    )


async def stored(connection: asyncpg.Connection, device: int) -> dict[int, list[float | None]]:
    rows = await connection.fetch(
        "SELECT extract(epoch FROM time)::bigint AS s, laeq, lamax, la90 FROM reading.noise WHERE device_id = $1",
        device,
    )
    return {row["s"] - NOW // SECOND: [row["laeq"], row["lamax"], row["la90"]] for row in rows}


async def test_rows_with_and_without_values_are_stored_as_they_are(
    ingest: asyncpg.Connection, noise: Kind, device: int
) -> None:
    rows = {0: [1.5, 2, 3], 1: [NAN, 2, 3], 2: [NAN, NAN, -0.0], 3: [1e-300, NAN, 1e300]}
    assert await write(ingest, Batch([batch_of(noise, device, rows)])) == Written(stored=4)
    assert await stored(ingest, device) == {
        0: [1.5, 2, 3],
        1: [None, 2, 3],
        2: [None, None, 0],
        3: [1e-300, None, 1e300],
    }


async def test_the_same_batch_again_changes_nothing(
    ingest: asyncpg.Connection, noise: Kind, device: int
) -> None:
    batch = batch_of(noise, device, {n: [n, NAN, n] for n in range(100)})
    assert await write(ingest, Batch([batch])) == Written(stored=100)
    assert await write(ingest, Batch([batch])) == Written(duplicate=100)
    assert len(await stored(ingest, device)) == 100


async def test_new_completing_and_repeated_rows_in_one_batch_are_told_apart(
    ingest: asyncpg.Connection, noise: Kind, device: int
) -> None:
    await write(ingest, Batch([batch_of(noise, device, {0: [1, NAN, NAN], 1: [1, 1, 1]})]))
    second = batch_of(noise, device, {0: [9, 2, NAN], 1: [9, 9, 9], 2: [3, 3, 3]})
    assert await write(ingest, Batch([second])) == Written(stored=1, merged=1, duplicate=1)
    assert await stored(ingest, device) == {0: [1, 2, None], 1: [1, 1, 1], 2: [3, 3, 3]}


async def test_readings_letters_and_arrivals_are_one_transaction(
    ingest: asyncpg.Connection, owner: asyncpg.Connection, noise: Kind, device: int
) -> None:
    letter = DeadLetter(NOW, "topic-of-this-test", b"x", Reason.UNDECODABLE, "why", device_id=-1)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await write(
            ingest, Batch([batch_of(noise, device, {0: [1, 1, 1]})], Letters([letter]), ("w", 0, b""))
        )
    assert await stored(ingest, device) == {}
    assert await owner.fetchval("SELECT count(*) FROM alatau.ingest_arrivals WHERE worker = 'w'") == 0


async def test_two_writers_of_the_same_rows_store_them_once(
    database: Database, ingest: asyncpg.Connection, noise: Kind, device: int
) -> None:
    other = await connect(database.ingest_url, application="test")
    try:
        batches = [batch_of(noise, device, {s: [s, n, NAN] for s in range(2000)}) for n in range(2)]
        written = await asyncio.gather(
            *(write(c, Batch([b])) for c, b in zip((ingest, other), batches, strict=True))
        )
    finally:
        await other.close()
    assert sum(one.stored for one in written) == 2000
    assert len(await stored(ingest, device)) == 2000


async def repeats(owner: asyncpg.Connection, topic: str) -> list[int]:
    rows = await owner.fetch(
        "SELECT repeats FROM alatau.dead_letter WHERE topic = $1 ORDER BY dead_letter_id", topic
    )
    return [row["repeats"] for row in rows]


async def test_letters_of_a_transaction_that_had_committed_unknown_to_us_are_kept_once(
    ingest: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    def letters(received: int) -> Letters:
        letter = DeadLetter(received, "kept-once", b"\x00\xff", Reason.UNDECODABLE, "why\0")
        return Letters([letter], [Fold("kept-once", received, 5, letter)])

    for _ in range(3):
        await write(ingest, Batch([], letters(NOW), ("w-once", 0, b"these messages")))
    assert await repeats(owner, "kept-once") == [5]
    await write(ingest, Batch([], letters(NOW + 1), ("w-once", 0, b"other messages, in the same slot")))
    assert await repeats(owner, "kept-once") == [5, 5]


async def test_messages_are_counted_in_the_letter_they_are_folded_into(
    ingest: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    old, new, other = (
        DeadLetter(NOW, "counted", b"old", Reason.UNDECODABLE, "why"),
        DeadLetter(NOW + 1, "counted", b"new", Reason.UNDECODABLE, "why"),
        DeadLetter(NOW + 2, "counted", b"other", Reason.WRONG_TYPE, "why"),
    )
    await write(ingest, Batch([], Letters([old, new, other])))
    await write(
        ingest,
        Batch([], Letters(folds=[Fold("counted", NOW + 1, 7, old), Fold("counted", NOW + 2, 2, other)])),
    )
    assert await repeats(owner, "counted") == [0, 7, 2]


async def test_messages_whose_letter_is_gone_keep_one_of_them(
    ingest: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    letter = DeadLetter(NOW, "alone", b"x", Reason.UNDECODABLE, "why")
    await write(ingest, Batch([], Letters(folds=[Fold("gone", NOW, 3, letter)])))
    assert await repeats(owner, "alone") == [2]


async def test_dead_letters_are_bounded_by_age(owner: asyncpg.Connection, ingest: asyncpg.Connection) -> None:
    await owner.execute("DELETE FROM alatau.dead_letter")
    now = int(await owner.fetchval("SELECT extract(epoch FROM now()) * 1000000"))
    ages = [92, 91, 89, 0]
    letters = [DeadLetter(now - age * DAY, f"{age} days", b"", Reason.UNDECODABLE, "") for age in ages]
    await write(ingest, Batch([], Letters(letters)))
    assert await trim_letters(ingest, 100, days=90) == 2
    assert await trim_letters(ingest, 100, days=90) == 0
    rows = await owner.fetch("SELECT topic FROM alatau.dead_letter ORDER BY dead_letter_id")
    assert [row["topic"] for row in rows] == ["89 days", "0 days"]
    await owner.execute("UPDATE alatau.dead_letter SET received_at = now() - interval '1 year'")
    assert await trim_letters(ingest, 100, days=90) == 2


async def test_dead_letters_are_bounded(owner: asyncpg.Connection, ingest: asyncpg.Connection) -> None:
    letters = [DeadLetter(NOW, f"bounded-{n}", b"", Reason.UNDECODABLE, "") for n in range(20)]
    await write(ingest, Batch([], Letters(letters)))
    await trim_letters(ingest, 5, days=36_500)
    topics = await owner.fetch("SELECT topic FROM alatau.dead_letter ORDER BY dead_letter_id")
    assert [row["topic"] for row in topics] == [f"bounded-{n}" for n in range(15, 20)]


async def latest(connection: asyncpg.Connection, device: int) -> tuple[list[float], list[int | None]]:
    row = await connection.fetchrow(
        """
        SELECT values, ARRAY(SELECT CASE WHEN isfinite(t) THEN extract(epoch FROM t)::bigint END
                             FROM unnest(times) AS t) AS seconds
        FROM alatau.latest WHERE device_id = $1
        """,
        device,
    )
    assert row is not None
    return row["values"], [None if s is None else s - NOW // SECOND for s in row["seconds"]]


async def test_latest_is_the_newest_by_event_time_for_each_metric(
    ingest: asyncpg.Connection, noise: Kind, device: int
) -> None:
    await flush_latest(ingest, [batch_of(noise, device, {5: [5, 5, NAN], 3: [3, 3, 3]})])
    await flush_latest(ingest, [batch_of(noise, device, {4: [4, 4, 4], 6: [6, NAN, NAN]})])
    values, seconds = await latest(ingest, device)
    assert (values, seconds) == ([6, 5, 4], [6, 5, 4])


async def test_rows_committed_but_not_flushed_are_taken_over(
    ingest: asyncpg.Connection, noise: Kind, device: int
) -> None:
    early, late = (
        batch_of(noise, device, {0: [1, 1, 1]}),
        batch_of(noise, device, {1: [2, NAN, 2], 2: [3, NAN, NAN]}),
    )
    await write(ingest, Batch([early]))
    await flush_latest(ingest, [early])
    await write(ingest, Batch([late]))
    assert await heal_latest(ingest, noise) >= 1
    assert await latest(ingest, device) == ([3, 1, 2], [2, 0, 1])
    assert await heal_latest(ingest, noise) == 0


async def test_migrating_twice_at_once_changes_nothing(database: Database, owner: asyncpg.Connection) -> None:
    code = (
        "import asyncio, sys; from storage.migrations.run import upgrade; asyncio.run(upgrade(sys.argv[1]))"
    )
    both = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, database.owner_url, cwd=PROJECT)
        for _ in range(2)
    ]
    assert [await one.wait() for one in both] == [0, 0]
    assert (await read_edition(owner)).is_current


def test_the_revision_written_down_is_the_newest() -> None:
    assert newest_revision() == HEAD


FORBIDDEN = [
    ("ingest", "SELECT * FROM alatau.device_credential"),
    ("ingest", "DELETE FROM reading.noise"),
    ("ingest", "UPDATE alatau.device SET district = 'gate'"),
    ("ingest", "SELECT * FROM alatau.api_key"),
    ("ingest", "SELECT alatau.register_devices('[]')"),
    ("api", "SELECT alatau.device_secret('lamp-17', 1::smallint)"),
    ("api", "SELECT alatau.gateway_secret('lora', 'chirpstack')"),
    ("ingest", "SELECT name FROM alatau.gateway"),
    ("api", "SELECT * FROM alatau.device_credential"),
    ("api", "SELECT hash FROM alatau.device_credential"),
    ("ingest", "SELECT alatau.end_rotations(1)"),
    ("api", "INSERT INTO reading.noise (time, received_at, device_id) VALUES (now(), now(), 1)"),
    (
        "api",
        "INSERT INTO alatau.device (id, kind, district, interval_seconds) VALUES ('x', 'noise', 'gate', 1)",
    ),
    ("api", "DELETE FROM alatau.dead_letter"),
    ("api", "CREATE TABLE alatau.mine ()"),
    ("api", "CREATE TEMPORARY TABLE mine ()"),
]


@pytest.mark.parametrize(("role", "statement"), FORBIDDEN, ids=[f"{r}: {s[:40]}" for r, s in FORBIDDEN])
async def test_roles_may_do_no_more_than_their_work(database: Database, role: str, statement: str) -> None:
    connection = await connect(
        database.ingest_url if role == "ingest" else database.api_url, application="test"
    )
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (asyncpg.ConnectionDoesNotExistError("why"), RetryableError),
        (asyncpg.DeadlockDetectedError("why"), RetryableError),
        (asyncpg.DiskFullError("why"), RetryableError),
        (asyncpg.AdminShutdownError("why"), RetryableError),
        (asyncpg.CannotConnectNowError("why"), RetryableError),
        (asyncpg.InvalidPasswordError("why"), RetryableError),
        (asyncpg.UndefinedColumnError("why"), RetryableError),
        (asyncpg.InsufficientPrivilegeError("why"), RetryableError),
        (asyncpg.InternalServerError("why"), RetryableError),
        (ConnectionRefusedError(), RetryableError),
        (TimeoutError(), RetryableError),
        (asyncpg.NumericValueOutOfRangeError("why"), PermanentError),
        (asyncpg.CheckViolationError("why"), PermanentError),
    ],
)
def test_whether_to_try_again_is_decided_by_the_error(error: Exception, expected: type) -> None:
    assert type(classify(error)) is expected


def test_errors_that_are_not_the_database_s_are_left_alone() -> None:
    assert classify(KeyError()) is None
