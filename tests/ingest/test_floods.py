"""Floods on the real servers: a runaway beside its neighbours, and streams of nothing but bad messages."""

from __future__ import annotations

import asyncio
import json
import pathlib
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from ingest.limits import RatePolicy
from sensors.checks import Reason
from sensors.kinds import DeviceSpec
from storage.devices import update_devices
from tests.ingest.conftest import Device, Rig
from tests.ingest.test_kills import Worker

_REFUSED = "SELECT COALESCE(sum(1 + repeats), 0) FROM alatau.dead_letter WHERE topic LIKE $1"
_ALARM = "alatau_ingest_refusal_alarm"
_STRICT = RatePolicy(burst=50, catch_up=0)


def _send(gateway: Device, messages: list[tuple[str, bytes]]) -> None:
    """Publish (device, payload) as fast as the broker takes them, and wait for its acknowledgements."""
    sent = [gateway.client.publish(f"alatau/v1/{device}/telemetry", body, qos=1) for device, body in messages]
    for info in sent:
        info.wait_for_publish(30)


def _reading(milliseconds: int) -> bytes:
    return b'{"ts": %d, "pm2_5": 1}' % milliseconds


async def test_runaway_is_limited_and_told_and_its_neighbours_notice_nothing(rig: Rig) -> None:
    runaway, gateway = await rig.add_device(), await rig.gateway()
    neighbours = [await rig.add_device() for _ in range(10)]
    start = time.time_ns() // 1_000_000 - 3_600_000
    messages = []
    for number in range(1000):
        messages.append((runaway.id, _reading(start + number * 600)))  # 100 times in the minute expected
        if number % 50 == 0:
            messages += [(one.id, _reading(start + number // 50 * 60_000)) for one in neighbours]
    async with rig.worker(rig.options(rates=_STRICT)) as ingest:
        await asyncio.to_thread(runaway.subscribe, f"alatau/v1/{runaway.id}/errors")
        await asyncio.to_thread(_send, gateway, messages)
        ((_, told),) = await asyncio.to_thread(runaway.next_message)
        await rig.until(lambda: ingest.metrics.received._value.get() == len(messages))
        await rig.until(lambda: ingest.metrics.in_flight._value.get() == 0)
        assert ingest.metrics.registry.get_sample_value("alatau_ingest_devices_limited") == 1
    taken = len(await rig.rows(runaway))
    refused = await rig.connection.fetchval(_REFUSED, f"%/{runaway.id}/%")
    assert taken + refused == 1000
    assert 51 <= taken < 150, "the burst, and what came back meanwhile"
    assert ingest.metrics.limited._value.get() == refused
    reason = Reason.RATE_EXCEEDED.value
    kept, folded = (
        counter.labels(reason)._value.get()
        for counter in (ingest.metrics.dead_letters, ingest.metrics.letters_folded)
    )
    assert kept + folded == refused
    assert kept <= 200, "a hundred in each of the minutes that it touched"
    assert [len(await rig.rows(one)) for one in neighbours] == [20] * 10
    message = json.loads(told)
    assert message["reason"] == reason
    assert "0.6 s after the one before it" in message["detail"]
    assert "one in 60 s is expected" in message["detail"]


def _bad(device: str) -> list[tuple[Reason, str, bytes]]:
    """One message of each reason that a payload or a topic can give."""
    now = time.time_ns() // 1_000_000
    too_large = b"[" + b",".join([b"{}"] * 10_001) + b"]"
    return [
        (Reason.UNKNOWN_TOPIC, f"no device {device}", b"{}"),
        (Reason.UNKNOWN_DEVICE, f"stranger-{device}", b"{}"),
        (Reason.TOO_LARGE, device, too_large),
        (Reason.UNDECODABLE, device, b"{"),
        (Reason.NO_METRICS, device, b"{}"),
        (Reason.UNKNOWN_METRIC, device, b'{"pm2.5": 3}'),
        (Reason.WRONG_TYPE, device, b'{"pm2_5": "3"}'),
        (Reason.OUT_OF_RANGE, device, b'{"pm2_5": 99999}'),
        (Reason.TIME_UNREADABLE, device, b'{"ts": "yesterday", "pm2_5": 3}'),
        (Reason.TIME_TOO_OLD, device, b'{"ts": 0, "pm2_5": 3}'),
        (Reason.TIME_IN_FUTURE, device, b'{"ts": 2082758400, "pm2_5": 3}'),
        (Reason.REFUSED_BY_DATABASE, device, b'{"ts": %d, "no2": 1234.5}' % now),
    ]


async def test_half_bad_stream_keeps_or_counts_every_refused_message(rig: Rig) -> None:
    """Over lost connections too: what is delivered again is counted once."""
    device, runaway, gateway = await rig.add_device(), await rig.add_device(), await rig.gateway()
    await rig.connection.execute(
        "ALTER TABLE reading.air_quality ADD CONSTRAINT of_test CHECK (no2 <> 1234.5) NOT VALID"
    )
    bad, rounds, start = _bad(device.id), 150, time.time_ns() // 1_000_000 - 400 * 60_000
    sent = dict.fromkeys([reason for reason, _, _ in bad], 0)
    messages, good = [], 0
    for number in range(rounds):
        for reason, topic, body in bad:
            # To find a row that the database refuses takes a dozen transactions.
            if reason in (Reason.REFUSED_BY_DATABASE, Reason.TOO_LARGE) and number % 50:
                continue
            sent[reason] += 1
            messages += [(topic, body), (device.id, _reading(start + good * 10_000))]
            good += 1
        messages += [(runaway.id, _reading(start + (number * 5 + n))) for n in range(5)]
    async with rig.worker(rig.options(rates=_STRICT)) as ingest:
        sending = asyncio.create_task(asyncio.to_thread(_send, gateway, messages), name="test.send")
        for share in (0.2, 0.5, 0.8):
            expected = share * len(messages)
            await rig.until(lambda least=expected: ingest.metrics.received._value.get() > least)  # type: ignore[misc]
            await rig.until(lambda: ingest._session is not None and ingest._session.is_open)
            session = ingest._session
            assert session is not None
            session.abort()
            await session.wait_lost()
        await sending
        total = sum(sent.values())
        await rig.until_sql(f"SELECT ({_REFUSED}) >= $2", f"%{device.id}/telemetry", total, seconds=30)
        await rig.until(lambda: ingest.metrics.in_flight._value.get() == 0)
    await rig.connection.execute("ALTER TABLE reading.air_quality DROP CONSTRAINT of_test")
    refused = await rig.connection.fetch(
        "SELECT reason, sum(1 + repeats) AS refused FROM alatau.dead_letter WHERE topic LIKE $1 GROUP BY reason",
        f"%{device.id}/telemetry",
    )
    assert {row["reason"]: row["refused"] for row in refused} == {
        reason.value: count for reason, count in sent.items()
    }
    assert len(await rig.rows(device)) == good
    limited = await rig.connection.fetchval(_REFUSED, f"%/{runaway.id}/telemetry")
    assert limited + len(await rig.rows(runaway)) == 5 * rounds
    assert limited > 0
    kept = await rig.connection.fetchval(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM alatau.dead_letter WHERE topic LIKE $1 GROUP BY reason) x",
        f"%{device.id}/telemetry",
    )
    assert kept < rounds, "some were only counted"


@pytest.fixture
def worker(rig: Rig, tmp_path: pathlib.Path) -> Iterator[Worker]:
    worker = Worker(rig, tmp_path)
    yield worker
    worker.close()


async def test_bad_messages_are_counted_once_over_kills(rig: Rig, worker: Worker) -> None:
    """All of them the same: nothing but their packet ids tells them apart."""
    gateway, device = await rig.gateway(), await rig.add_device()
    worker.start()
    await worker.until_ready()
    for number in range(3000):
        gateway.client.publish(f"alatau/v1/{device.id}/telemetry", b"bad", qos=1)
        if number % 500 == 250:
            worker.kill()
            worker.start()
    topic = f"%/{device.id}/%"
    await rig.until_sql(f"SELECT ({_REFUSED}) >= 3000", topic, seconds=30)
    assert worker.terminate() == 0
    assert await rig.connection.fetchval(_REFUSED, topic) == 3000


async def test_limit_follows_the_interval_that_a_device_is_given(rig: Rig) -> None:
    device, gateway = await rig.add_device(), await rig.gateway()
    start = time.time_ns() // 1_000_000 - 3_600_000
    async with rig.worker(rig.options(rates=RatePolicy(burst=0, catch_up=0))) as ingest:
        spec = DeviceSpec(device.id, "air_quality", "gate", interval="PT1S")
        assert await update_devices(rig.connection, [spec], rig.catalogue) == 1
        number = await rig.number_of(device)
        await rig.until(lambda: ingest._routes.intervals.expected[number] == 1_000_000)
        await asyncio.to_thread(_send, gateway, [(device.id, _reading(start + n * 500)) for n in range(100)])
        await rig.until_sql("SELECT count(*) = 100 FROM reading.air_quality WHERE device_id = $1", number)


async def test_alarm_is_raised_once_while_nearly_everything_is_refused(rig: Rig) -> None:
    device, gateway = await rig.add_device(), await rig.gateway()
    with capture_logs() as lines:
        async with rig.worker() as ingest:
            await asyncio.to_thread(_send, gateway, [(device.id, b"bad")] * 1500)
            await rig.until(lambda: ingest.metrics.registry.get_sample_value(_ALARM) == 1)
            assert ingest.is_refusing_most
            good = [(device.id, _reading(1_767_225_600_000 + n * 60_000)) for n in range(500)]
            await asyncio.to_thread(_send, gateway, good)
            await rig.until(lambda: ingest.metrics.registry.get_sample_value(_ALARM) == 0)
    told = [line for line in lines if "summary" in line]
    assert [line["log_level"] for line in told] == ["error", "info"]
    assert "messages refused in a minute: undecodable" in told[0]["summary"]
