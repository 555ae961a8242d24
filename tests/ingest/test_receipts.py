"""Receipts on the real servers: a device is told what is kept, after the commit and never before it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from broker.accounts import Service
from ingest.replay import Replay
from sensors.topics import Topics
from storage.database import connect
from storage.dead_letters import find_letter
from storage.gaps import Gap, GapState, list_gaps
from tests.ingest.conftest import Device, Rig
from tests.ingest.test_kills import Worker

pytestmark = pytest.mark.servers

START = int(time.time()) - 3600


@pytest.fixture
async def device(rig: Rig) -> Device:
    """An air quality station that listens for its receipts."""
    device = await rig.add_device()
    await asyncio.to_thread(device.subscribe, f"alatau/v1/{device.id}/stored")
    return device


def receipts(device: Device) -> list[int]:
    """Return what the device was told so far."""
    return [json.loads(payload)["through"] for _, payload in list(device.messages)]


async def until_told(rig: Rig, device: Device, through: int) -> None:
    await rig.until(lambda: through in receipts(device))


async def send(device: Device, *payloads: dict[str, Any] | list[Any]) -> None:
    for payload in payloads:
        await asyncio.to_thread(device.publish, payload)


async def gaps(rig: Rig, device: Device) -> list[Gap]:
    return await list_gaps(rig.connection, device=device.id)


def reading(number: int, **more: Any) -> dict[str, Any]:
    return {"ts": START + number, "seq": number, "pm2_5": 10, **more}


async def test_a_receipt_has_the_bytes_of_the_contract(rig: Rig, device: Device) -> None:
    async with rig.worker() as ingest:
        await send(device, reading(1), reading(2))
        await until_told(rig, device, 2)
    assert (f"alatau/v1/{device.id}/stored", b'{"through":2}') in device.messages
    assert ingest.metrics.numbered._value.get() == 2
    assert ingest.metrics.receipts_sent._value.get() == len(device.messages)
    assert len(await rig.rows(device)) == 2


@pytest.mark.parametrize("table", ["alatau.sequence", "reading.air_quality"])
async def test_no_receipt_before_the_commit(rig: Rig, device: Device, table: str) -> None:
    other = await connect(rig.database.owner_url, application="test-lock")
    try:
        async with rig.worker() as ingest:
            await send(device, reading(1))
            await until_told(rig, device, 1)
            async with other.transaction():
                await other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                await send(device, reading(2))
                await rig.until_sql(
                    "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
                    "WHERE application_name = $1 AND NOT granted",
                    ingest.options.worker,
                )
                assert ingest._telling._receipts.rest(0) == []
                assert 2 not in receipts(device)
            await until_told(rig, device, 2)
    finally:
        await other.close()


async def test_receipts_are_gathered_and_the_last_word_follows(rig: Rig, device: Device) -> None:
    async with rig.worker(rig.options(linger_seconds=0.001)) as ingest:
        await send(device, *(reading(number) for number in range(1, 201)))
        await until_told(rig, device, 200)
        commits = ingest.metrics.commit_seconds._sum.get()
    heard = receipts(device)
    assert heard == sorted(heard)
    assert heard[-1] == 200
    assert len(heard) < 200, f"not one for each reading ({commits:.1f} s in transactions)"


async def test_a_gap_is_listed_until_the_number_comes(rig: Rig, device: Device) -> None:
    async with rig.worker() as ingest:
        await send(device, [reading(1), reading(2), reading(4), reading(7)])
        await until_told(rig, device, 2)
        assert [(gap.first, gap.last, gap.state) for gap in await gaps(rig, device)] == [
            (3, 3, GapState.OPEN),
            (5, 6, GapState.OPEN),
        ]
        await send(device, reading(3))
        await until_told(rig, device, 4)
        await send(device, [reading(6), reading(5)])
        await until_told(rig, device, 7)
        assert await gaps(rig, device) == []
        assert ingest.metrics.gaps_detected._value.get() == 1


async def test_a_gap_that_the_device_gives_up_is_noted_and_the_rest_is_receipted(
    rig: Rig, device: Device
) -> None:
    async with rig.worker() as ingest:
        await send(device, reading(1), reading(4, oldest=4))
        await until_told(rig, device, 4)
        (gap,) = await gaps(rig, device)
        assert (gap.first, gap.last, gap.state) == (2, 3, GapState.ABANDONED)
        assert ingest.metrics.gaps_abandoned._value.get() == 1
        await send(device, reading(3))
        stored = "SELECT count(*) = 3 FROM reading.air_quality WHERE device_id = $1"
        await rig.until_sql(stored, await rig.number_of(device))
        (gap,) = await gaps(rig, device)
        assert (gap.first, gap.last) == (2, 2), "what came all the same is not missing"


async def test_a_resent_number_is_answered_again_and_stored_once(rig: Rig, device: Device) -> None:
    async with rig.worker():
        await send(device, reading(1))
        await until_told(rig, device, 1)
        await send(device, reading(1))
        await rig.until(lambda: receipts(device).count(1) == 2)
    assert len(await rig.rows(device)) == 1


async def test_a_device_without_a_clock_may_send_again(rig: Rig, device: Device) -> None:
    async with rig.worker() as ingest:
        for _ in range(3):
            await send(device, {"seq": 1, "pm2_5": 10}, {"seq": 2, "pm2_5": 11})
        await until_told(rig, device, 2)
        await send(device, {"seq": 3, "pm2_5": 12})
        await until_told(rig, device, 3)
        assert ingest.metrics.duplicate._value.get() == 4
    rows = await rig.rows(device)
    assert [row["pm2_5"] for row in rows] == [10, 11, 12]
    newest = await rig.connection.fetchval(
        "SELECT time FROM alatau.latest WHERE device_id = $1", await rig.number_of(device)
    )
    assert newest == rows[-1]["time"], "a reading that was not stored is not the latest either"


async def test_what_is_kept_as_a_letter_is_receipted_and_kept_once(rig: Rig, device: Device) -> None:
    async with rig.worker():
        for _ in range(2):
            await send(device, {"seq": 1, "pm2_5": -999}, {"seq": 2, "colour": 3}, {"seq": 3})
        await until_told(rig, device, 3)
        await send(device, {"seq": 4, "pm2_5": 1})
        await until_told(rig, device, 4)
    reasons = [letter["reason"] for letter in await rig.letters(device)]
    assert sorted(reasons) == ["no_metrics", "out_of_range", "unknown_metric"]


async def test_a_number_that_is_none_is_told_and_its_metrics_are_stored(rig: Rig, device: Device) -> None:
    await asyncio.to_thread(device.subscribe, f"alatau/v1/{device.id}/errors")
    async with rig.worker():
        await send(device, {"seq": "first", "pm2_5": 10})
        ((topic, refusal),) = await asyncio.to_thread(device.next_message)
    assert topic.endswith("/errors")
    assert json.loads(refusal)["reason"] == "bad_sequence"
    assert [row["pm2_5"] for row in await rig.rows(device)] == [10]


async def test_a_replay_leaves_the_sequence_as_it_is(rig: Rig, device: Device) -> None:
    """A letter's number was kept with it; what else the device has sent since does not matter."""
    async with rig.worker():
        await send(device, {"seq": 1, "pm2_5": 10, "colour": 3}, {"seq": 2, "oldest": 2, "pm2_5": 11})
        await until_told(rig, device, 2)
    sequence = "SELECT received, highest, oldest FROM alatau.sequence WHERE device_id = $1"
    number = await rig.number_of(device)
    before = await rig.connection.fetchrow(sequence, number)
    (kept,) = await rig.letters(device)
    letter = await find_letter(rig.connection, kept["dead_letter_id"])
    assert letter is not None
    replay = await Replay.open(rig.connection, Topics())
    for _ in range(2):
        verdict = await replay.feed(letter)
        assert verdict.refused is not None
    assert await rig.connection.fetchrow(sequence, number) == before
    assert [row["pm2_5"] for row in await rig.rows(device)] == [10, 11]


async def test_two_workers_share_the_numbers_of_one_device(rig: Rig, device: Device) -> None:
    first, second = rig.options(share="two"), rig.options(share="two")
    async with rig.worker(first) as one, rig.worker(second) as two:
        await send(device, *(reading(number) for number in range(1, 301)))
        await until_told(rig, device, 300)
        shares = [worker.metrics.numbered._value.get() for worker in (one, two)]
    assert min(shares) > 0, "each had a part"
    assert sum(shares) == 300
    assert await gaps(rig, device) == []


async def test_a_worker_that_ends_tells_what_waits(rig: Rig, device: Device) -> None:
    async with rig.worker():
        await send(device, reading(1))
        await until_told(rig, device, 1)
        await send(device, reading(2))
        entered = "SELECT received @> 2::int8 FROM alatau.sequence WHERE device_id = $1"
        await rig.until_sql(entered, await rig.number_of(device))
    await until_told(rig, device, 2)


# -- killed ---------------------------------------------------------------------------------------


@pytest.fixture
def process(rig: Rig, tmp_path: pathlib.Path) -> Iterator[Worker]:
    process = Worker(rig, tmp_path)
    yield process
    process.close()


@contextlib.asynccontextmanager
async def subscribed_as_worker(rig: Rig) -> AsyncIterator[Device]:
    """The account of ingest, to see that it may publish where it must and nowhere else."""
    account = Service.INGEST
    device = await asyncio.to_thread(
        Device, rig.stack.ports.mqtt, account, rig.stack.secrets.services[account]
    )
    yield device
    await asyncio.to_thread(device.close)


async def test_a_receipt_lost_by_a_kill_comes_when_the_reading_is_sent_again(
    rig: Rig, device: Device, process: Worker
) -> None:
    """Killed as soon as the commit is seen, which is before the task that publishes gets its turn, or after:
    either way the device sends again and is answered, and nothing is stored twice."""
    number = await rig.number_of(device)
    for last in range(2, 12, 2):
        process.start()
        await process.until_ready()
        await send(device, {"seq": last - 1, "pm2_5": 1}, {"seq": last, "pm2_5": 2})
        await rig.until_sql(
            "SELECT received @> $2::int8 FROM alatau.sequence WHERE device_id = $1", number, last
        )
        process.kill()
    device.messages.clear()
    process.start()
    await process.until_ready()
    await send(device, *({"seq": number, "pm2_5": 2 - number % 2} for number in range(1, 11)))
    await until_told(rig, device, 10)
    assert process.terminate() == 0
    assert [row["pm2_5"] for row in await rig.rows(device)] == [1, 2] * 5


async def test_only_ingest_may_say_that_a_reading_was_stored(rig: Rig, device: Device) -> None:
    other = await rig.add_device()
    async with subscribed_as_worker(rig) as account:
        for one in (device, other):
            await asyncio.to_thread(one.publish, b'{"through":9}', topic=f"alatau/v1/{device.id}/stored")
        await asyncio.to_thread(account.publish, b'{"through":1}', topic=f"alatau/v1/{device.id}/stored")
        await until_told(rig, device, 1)
        assert receipts(device) == [1]
        assert [len(one.refused) for one in (device, other, account)] == [1, 1, 0]
