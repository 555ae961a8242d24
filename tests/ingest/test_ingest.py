"""The worker on the real servers: what is stored, what becomes a dead letter, who is told."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from sensors.checks import Reason
from tests.ingest.conftest import Rig


def _ms(ago_seconds: float = 0) -> int:
    return int((time.time() - ago_seconds) * 1000)


async def test_published_reading_is_stored_with_both_times(rig: Rig) -> None:
    device = await rig.add_device()
    async with rig.worker():
        await asyncio.to_thread(device.publish, {"ts": 1_767_225_600.5, "pm2_5": 83.4, "temperature": -3.1})
        await rig.until_sql(
            "SELECT count(*) FROM reading.air_quality WHERE device_id = $1", await rig.number_of(device)
        )
    (row,) = await rig.rows(device)
    assert row["time"].isoformat() == "2026-01-01T00:00:00.500000+00:00"
    assert row["received_at"] > row["time"]
    assert (row["pm2_5"], row["temperature"], row["no2"]) == (83.4, -3.1, None)


async def test_device_registered_while_ingest_runs_is_known_at_once(rig: Rig) -> None:
    async with rig.worker():
        device = await rig.add_device()
        await asyncio.to_thread(device.publish, {"pm2_5": 1})
        await rig.until_sql(
            "SELECT count(*) FROM reading.air_quality WHERE device_id = $1", await rig.number_of(device)
        )
    assert await rig.letters(device) == []


async def test_reading_without_time_has_that_of_its_arrival(rig: Rig) -> None:
    device = await rig.add_device()
    async with rig.worker():
        await asyncio.to_thread(device.publish, {"pm2_5": 5})
    (row,) = await rig.rows(device)
    assert row["time"] == row["received_at"]


async def test_same_reading_sent_twice_is_stored_once(rig: Rig) -> None:
    device, reading = await rig.add_device(), {"ts": _ms(), "pm2_5": 5}
    async with rig.worker() as ingest:
        for number in range(1, 4):
            await asyncio.to_thread(device.publish, reading)
            await rig.until_settled(ingest, number)
        assert ingest.metrics.duplicate._value.get() == 2
    assert len(await rig.rows(device)) == 1


async def test_later_message_completes_the_row_and_changes_nothing_in_it(rig: Rig) -> None:
    device, ts = await rig.add_device(), _ms()
    async with rig.worker() as ingest:
        for number, reading in enumerate(({"pm2_5": 5}, {"pm10": 7}, {"pm2_5": 99, "no2": 1}), 1):
            await asyncio.to_thread(device.publish, {"ts": ts, **reading})
            await rig.until_settled(ingest, number)
        assert ingest.metrics.merged._value.get() == 2
    (row,) = await rig.rows(device)
    assert (row["pm2_5"], row["pm10"], row["no2"]) == (5, 7, 1)


BAD: list[tuple[bytes, Reason, str]] = [
    (b"{", Reason.UNDECODABLE, "send"),
    (b"[" * 100_000, Reason.UNDECODABLE, "send"),
    (b"\xff\xfe", Reason.UNDECODABLE, "send"),
    (b"", Reason.UNDECODABLE, "send"),
    (b"7", Reason.UNDECODABLE, "a JSON number is no reading"),
    (b"{}", Reason.NO_METRICS, "send"),
    (b"[]", Reason.NO_METRICS, "send"),
    (b'{"pm2_5": null}', Reason.NO_METRICS, "no metric has a value"),
    (b'{"pm2.5": 3}', Reason.UNKNOWN_METRIC, 'did you mean "pm2_5"?'),
    (b'{"pm2_5": "3"}', Reason.WRONG_TYPE, "send a number in ug/m3"),
    (b'{"pm2_5": 99999}', Reason.OUT_OF_RANGE, "pm2_5 99999 is not between 0 and 2000 ug/m3"),
    (b'{"ts": 0, "pm2_5": 3}', Reason.TIME_TOO_OLD, "1970-01-01T00:00:00Z"),
    (b'{"ts": "1970-01-02T00:00:00Z", "pm2_5": 3}', Reason.TIME_TOO_OLD, "1970-01-02T00:00:00Z"),
    (b'{"ts": 2082758400, "pm2_5": 3}', Reason.TIME_IN_FUTURE, "2036-01-01T00:00:00Z"),
    (b'{"ts": 1e300, "pm2_5": 3}', Reason.TIME_IN_FUTURE, "set the device's clock"),
    (b'{"ts": "yesterday", "pm2_5": 3}', Reason.TIME_UNREADABLE, "send 2026-01-01T00:00:00Z"),
    (b'{"ts": "2026-01-01T00:00:00", "pm2_5": 3}', Reason.TIME_UNREADABLE, "no zone"),
    (b'{"ts": {}, "pm2_5": 3}', Reason.TIME_UNREADABLE, "send Unix seconds"),
]


@pytest.mark.parametrize(
    ("payload", "reason", "hint"), BAD, ids=[str(case[1]) + str(n) for n, case in enumerate(BAD)]
)
async def test_bad_payload_is_kept_with_its_reason_and_the_device_told(
    rig: Rig, payload: bytes, reason: Reason, hint: str
) -> None:
    device = await rig.add_device()
    async with rig.worker() as ingest:
        await asyncio.to_thread(device.subscribe, f"alatau/v1/{device.id}/errors")
        await asyncio.to_thread(device.publish, {"ts": _ms(60), "pm2_5": 1})
        await asyncio.to_thread(device.publish, payload)
        await asyncio.to_thread(device.publish, {"ts": _ms(30), "pm2_5": 2})
        ((_, told),) = await asyncio.to_thread(device.next_message)
        assert ingest.metrics.dead_letters.labels(reason.value)._value.get() == 1
    assert len(await rig.rows(device)) == 2, "good readings beside it are stored"
    (letter,) = await rig.letters(device)
    assert (letter["reason"], letter["payload"]) == (reason.value, payload)
    assert hint in letter["detail"]
    message: dict[str, Any] = json.loads(told)
    assert message["reason"] == reason.value
    assert hint in message["detail"]
    assert message["link"] == f"docs/devices/contract.md#{reason.value}"
    (properties,) = device.properties
    assert (properties.ContentType, properties.UserProperty) == (
        "application/json",
        [("reason", reason.value)],
    )


async def test_one_bad_metric_keeps_the_good_ones_of_its_message(rig: Rig) -> None:
    device, ts = await rig.add_device(), _ms()
    async with rig.worker():
        await asyncio.to_thread(device.publish, {"ts": ts, "pm2_5": 4, "pm10": -1, "bogus": 1})
    (row,) = await rig.rows(device)
    assert (row["pm2_5"], row["pm10"]) == (4, None)
    (letter,) = await rig.letters(device)
    assert letter["reason"] == Reason.UNKNOWN_METRIC
    assert "pm10 -1" in letter["detail"]


async def test_device_not_registered_becomes_a_dead_letter(rig: Rig) -> None:
    gateway = await rig.gateway()
    async with rig.worker():
        await asyncio.to_thread(gateway.publish, {"pm2_5": 1}, "nobody-knows-me")
    letter = await rig.connection.fetchrow(
        "SELECT * FROM alatau.dead_letter WHERE topic = 'alatau/v1/nobody-knows-me/telemetry'"
    )
    assert letter is not None
    assert letter["reason"] == Reason.UNKNOWN_DEVICE
    assert "alatau device add nobody-knows-me" in letter["detail"]


async def test_broker_refuses_the_topic_of_another_device(rig: Rig) -> None:
    device, other = await rig.add_device(), await rig.add_device()
    async with rig.worker():
        await asyncio.to_thread(device.publish, {"pm2_5": 1}, other.id)
        await asyncio.to_thread(device.publish, {"pm2_5": 1}, topic="elsewhere")
        await rig.until(lambda: len(device.refused) == 2)
    assert await rig.rows(other) == []


async def test_refusals_are_told_at_most_once_in_ten_seconds(rig: Rig) -> None:
    device = await rig.add_device()
    async with rig.worker() as ingest:
        await asyncio.to_thread(device.subscribe, f"alatau/v1/{device.id}/errors")
        for _ in range(5):
            await asyncio.to_thread(device.publish, b"nonsense")
        await rig.until_settled(ingest, 5)
        assert ingest.metrics.errors_told._value.get() == 1
        assert ingest.metrics.errors_withheld._value.get() == 4
    assert len(await rig.letters(device)) == 5


async def test_array_of_readings_is_stored_reading_by_reading(rig: Rig) -> None:
    device = await rig.add_device()
    readings: list[Any] = [{"ts": _ms(n), "pm2_5": n} for n in range(50)]
    readings[7] = {"ts": _ms(7), "values": {"pm2_5": 7}}
    readings[9] = "garbage"
    async with rig.worker():
        await asyncio.to_thread(device.publish, readings)
    assert len(await rig.rows(device)) == 49
    (letter,) = await rig.letters(device)
    assert letter["detail"].startswith("reading 9: a JSON string is no reading")


async def test_latest_values_are_by_event_time_not_by_arrival(rig: Rig) -> None:
    device = await rig.add_device()
    async with rig.worker():
        for reading in (
            {"ts": _ms(10), "pm2_5": 1, "pm10": 11},
            {"ts": _ms(5), "pm2_5": 2},
            {"ts": _ms(60), "pm2_5": 3, "no2": 33},
        ):
            await asyncio.to_thread(device.publish, reading)
        stored = "SELECT count(*) = 3 FROM reading.air_quality WHERE device_id = $1"
        await rig.until_sql(stored, await rig.number_of(device))
    row = await rig.connection.fetchrow(
        "SELECT * FROM alatau.latest WHERE device_id = $1", await rig.number_of(device)
    )
    assert row is not None
    columns = rig.catalogue.kind_of["air_quality"].columns
    values = dict(zip(columns, row["values"], strict=True))
    assert (values["pm2_5"], values["pm10"], values["no2"]) == (2, 11, 33)


async def test_messages_sent_while_no_worker_runs_wait_at_the_broker(rig: Rig) -> None:
    device, options = await rig.add_device(), rig.options()
    async with rig.worker(options):
        pass
    for number in range(30):
        await asyncio.to_thread(device.publish, {"ts": _ms(number), "pm2_5": number})
    assert await rig.rows(device) == []
    async with rig.worker(options):
        await rig.until_sql(
            "SELECT count(*) = 30 FROM reading.air_quality WHERE device_id = $1", await rig.number_of(device)
        )
