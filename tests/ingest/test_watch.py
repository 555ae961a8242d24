"""``alatau device watch`` on the real servers: a device publishes, ingest stores and refuses, the API tells it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.app import create_app
from api.options import ApiOptions
from cli.api_client import ApiClient, ApiError
from cli.watch import Watched
from ingest.letters import LetterPolicy
from ingest.service import Ingest
from storage.api_keys import Role, generate_key, store_key
from tests.cli.analysts import listening
from tests.cli.command import Alatau
from tests.ingest.conftest import Device, Rig

pytestmark = pytest.mark.servers


def now() -> int:
    return time.time_ns() // 1000


@pytest.fixture
async def settings(rig: Rig) -> AsyncIterator[dict[str, str]]:
    """Of an operator, who asks an API that listens."""
    key = generate_key()
    await store_key(rig.connection, key, "test", role=Role.OPERATOR)
    with listening(create_app(ApiOptions(rig.database.api_url, pool_size=2))) as url:
        yield {"ALATAU_API_URL": url, "ALATAU_API_KEY": key}


async def send(rig: Rig, ingest: Ingest, device: Device, *payloads: Any) -> None:
    before = ingest.metrics.acknowledged._value.get()
    for payload in payloads:
        await asyncio.to_thread(device.publish, payload)
    await rig.until_settled(ingest, int(before) + len(payloads))


async def test_what_comes_of_each_message_is_told_once_and_in_its_order(
    rig: Rig, settings: dict[str, str]
) -> None:
    device = await rig.add_device()
    ts = time.time() - 60
    options = rig.options(letters=LetterPolicy(each=3))
    with ApiClient(settings["ALATAU_API_URL"], settings["ALATAU_API_KEY"]) as api:
        with pytest.raises(ApiError, match="no device"):
            await asyncio.to_thread(Watched(api, "nobody").begin, now())
        watched = Watched(api, device.id)
        async with rig.worker(options) as ingest:
            await send(rig, ingest, device, {"ts": ts, "pm2_5": 1}, b"before")
            begun = await asyncio.to_thread(watched.begin, now())
            assert (begun["id"], begun["stored_through"]) == (device.id, None)
            assert await asyncio.to_thread(watched.look, now()) == [], "what was there before is not told"
            batch = [{"ts": ts - n, "seq": n, "pm2_5": n} for n in range(1, 31)]
            await send(rig, ingest, device, batch, {"pm2.5": 3}, {"ts": ts + 9, "pm2_5": 4, "pm10": -1})
            batched, refused, part, receipt = await asyncio.to_thread(watched.look, now())
            assert await asyncio.to_thread(watched.look, now()) == []
            await send(rig, ingest, device, *[b"nonsense"] * 3)
            again = await asyncio.to_thread(watched.look, now())
    assert (batched["verdict"], batched["readings"], batched["values"]) == ("stored", 30, {"pm2_5": 1.0})
    assert batched["age_seconds"] > 60
    assert (refused["verdict"], refused["reason"], refused["payload"]) == (
        "refused",
        "unknown_metric",
        '{"pm2.5": 3}',
    )
    assert refused["topic"] == f"alatau/v1/{device.id}/telemetry"
    assert (part["verdict"], part["values"], part["reason"]) == ("part", {"pm2_5": 4.0}, "out_of_range")
    assert (receipt["verdict"], receipt["through"]) == ("receipt", 30)
    counted = [event for event in again if event["verdict"] == "counted"]
    assert sum(event.get("times", 1) for event in again) == 3
    assert sum(event["times"] for event in counted) == 1, "of one reason three are kept, one was there before"


async def test_the_command_ends_after_as_many_lines_as_it_was_told(
    rig: Rig, settings: dict[str, str]
) -> None:
    device = await rig.add_device()
    watch = ("device", "watch", device.id, "--every", "0.2", "--count", "1")
    async with rig.worker():
        command = asyncio.create_task(asyncio.to_thread(Alatau(settings), *watch), name="test.watch")
        # What came before it looked is not told, so one reading is not enough.
        while not command.done():
            await asyncio.to_thread(device.publish, {"pm2_5": 12.5})
            await asyncio.wait({command}, timeout=0.1)
    result = command.result()
    assert result.code == 0, result.errors
    assert (
        f"{device.id}, air_quality in gate; has said nothing of itself. Waiting for messages:" in result.out
    )
    assert "✓ stored 0.0 s old: pm2_5 12.5 ug/m3" in result.out
    assert result.out.count("stored") == 1
