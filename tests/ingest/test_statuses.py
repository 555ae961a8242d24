"""What devices say of themselves, and their last wills for them: heard, refused, and what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from mqtt5 import PublishPacket

from alerts.options import AlertOptions
from alerts.service import Alerts
from api.app import ApiOptions, create_app
from ingest.decode import Fault
from ingest.letters import LetterPolicy
from ingest.replay import Replay
from ingest.service import Ingest
from ingest.statuses import Batch, read_status
from sensors.checks import Reason
from sensors.rules import Rule, RuleKind
from sensors.statuses import Said
from sensors.topics import Topics
from storage.alert_rules import Origin, put_rule
from storage.alerts import AlertFilter, list_alerts
from storage.api_keys import Role, Scope, generate_key, store_key
from storage.database import connect
from storage.dead_letters import find_letter
from storage.device_status import Heard
from storage.devices import DeviceStatus, find_device
from tests.api.conftest import serve
from tests.broker.clients import ALLOWED, Client, connected
from tests.ingest.conftest import Rig

TOPICS = Topics()


def topic_of(device: str) -> str:
    return f"alatau/v1/{device}/status"


# -- without a server -----------------------------------------------------------------------------


@pytest.mark.parametrize("said", Said)
def test_a_status_is_one_of_two_words(said: Said) -> None:
    assert read_status(topic_of("lamp-1"), said.value.encode(), TOPICS) == ("lamp-1", said)


@pytest.mark.parametrize("payload", [b"", b"Online", b"online\n", b'"offline"', b"1", b"\xff", b"x" * 300])
def test_anything_else_is_refused_and_told_what_to_publish(payload: bytes) -> None:
    fault = read_status(topic_of("lamp-1"), payload, TOPICS)
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.BAD_STATUS
    assert "publish online after each connect, and let the last will be offline" in fault.detail
    assert len(fault.detail) < 200


def test_a_topic_without_a_valid_id_is_refused() -> None:
    fault = read_status("alatau/v1/a b/status", b"online", TOPICS)
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.detail) == (
        Reason.UNKNOWN_TOPIC,
        "topic 'alatau/v1/a b/status' is not alatau/v1/<device>/status",
    )


def test_of_a_batch_each_devices_last_word_counts_and_what_was_kept_is_known_as_such() -> None:
    batch = Batch(TOPICS)
    batch.feed(PublishPacket(topic_of("a"), b"online", retain=True), 1)
    batch.feed(PublishPacket(topic_of("b"), b"offline", retain=True), 1)
    batch.feed(PublishPacket(topic_of("a"), b"offline"), 2)
    assert [heard for heard, _ in batch.heard.values()] == [
        Heard("a", Said.OFFLINE, 2, is_replayed=False),
        Heard("b", Said.OFFLINE, 1, is_replayed=True),
    ]
    # What the broker still keeps of a device that was deleted is nobody's fault.
    batch.refuse_unknown(["a", "b"])
    assert [(refused.device, refused.fault.reason) for refused in batch.refused] == [
        ("a", Reason.UNKNOWN_DEVICE)
    ]


# -- on the real servers --------------------------------------------------------------------------


@contextlib.contextmanager
def alive(rig: Rig, name: str, secret: str) -> Iterator[Client]:
    """Connect a device as firmware does: with a last will, and a word."""
    will: dict[str, Any] = {"topic": topic_of(name), "payload": b"offline", "qos": 1, "retain": True}
    with connected(rig.stack.ports.mqtt, name, secret, **will) as client:
        assert client.publish(topic_of(name), b"online", retain=True) == ALLOWED
        yield client


@contextlib.asynccontextmanager
async def following(rig: Rig) -> AsyncIterator[Ingest]:
    async with rig.worker() as ingest:
        await rig.until(lambda: ingest._statuses.is_following)
        yield ingest


async def status_of(rig: Rig, name: str) -> DeviceStatus | None:
    device = await find_device(rig.connection, name)
    assert device is not None
    return device.status


async def until_said(rig: Rig, name: str, said: Said) -> dt.datetime:
    """Wait until a device has said something; return when."""
    return await rig.until_sql(  # type: ignore[no-any-return]
        "SELECT at FROM alatau.device_status JOIN alatau.device USING (device_id) WHERE id = $1 AND said = $2",
        name,
        said.value,
    )


async def test_a_device_that_dies_is_offline_for_the_api_and_an_alert_says_so_at_once(rig: Rig) -> None:
    name, secret = await rig.register("air_quality")
    rule = Rule("gone", RuleKind.SILENCE, {"devices": [name], "offline_for": "PT0S"})
    await put_rule(rig.connection, rule, Origin.API)
    keys = {"all": None, "gate": Scope(districts=("gate",)), "golden": Scope(districts=("golden",))}
    secrets = {of: generate_key() for of in keys}
    for of, scope in keys.items():
        role = Role.ADMIN if scope is None else Role.VIEWER
        await store_key(rig.connection, secrets[of], of, role=role, scope=scope or Scope())
    options = ApiOptions(rig.database.api_url, pool_size=2)
    async with following(rig) as ingest, serve(create_app(options), None) as client:

        async def ask(of: str, path: str) -> dict[str, object]:
            answer = await client.get(f"/api/v1/{path}", headers={"X-API-Key": secrets[of]})
            return {"code": answer.status_code, **answer.json()}

        async def state() -> str:
            return str((await ask("all", f"fleet?device={name}"))["devices"][0]["state"])  # type: ignore[index]

        with alive(rig, name, secret) as device:
            assert device.publish(f"alatau/v1/{name}/telemetry", b'{"pm2_5": 12.5}') == ALLOWED
            await rig.until_sql("SELECT count(*) FROM alatau.latest")
            await until_said(rig, name, Said.ONLINE)
            assert await state() == "reporting"
            device.break_off()
            at = await until_said(rig, name, Said.OFFLINE)
        assert await state() == "silent"
        said = {"said": "offline", "at": at.isoformat(timespec="microseconds").replace("+00:00", "Z")}
        for of in ("all", "gate"):
            assert (await ask(of, f"devices/{name}"))["status"] == said
        assert (await ask("golden", f"devices/{name}"))["code"] == 404
        assert ingest.metrics.statuses._value.get() == 2
    connection = await connect(rig.database.alerts_url, application="test")
    try:
        await Alerts(AlertOptions("")).once(connection)
    finally:
        await connection.close()
    (alert,) = await list_alerts(rig.connection, AlertFilter())
    assert alert.device == name
    assert alert.since == at
    assert f"{name} went offline at " in alert.sentence
    assert f", said by its last will or by itself. {name} has sent nothing since " in alert.sentence


async def test_who_says_goodbye_is_offline_and_who_only_disconnects_is_not(rig: Rig) -> None:
    polite, asleep = await rig.register(), await rig.register()
    async with following(rig):
        with alive(rig, *polite) as device:
            assert device.publish(topic_of(polite[0]), b"offline", retain=True) == ALLOWED
            before = await until_said(rig, polite[0], Said.OFFLINE)
            # Heard as it happens, not as it was kept: there was something in between.
            assert device.publish(topic_of(polite[0]), b"offline", retain=True) == ALLOWED
            await rig.until_sql(
                "SELECT count(*) FROM alatau.device_status WHERE said = 'offline' AND at > $1", before
            )
        with alive(rig, *asleep):
            await until_said(rig, asleep[0], Said.ONLINE)
        status = await status_of(rig, asleep[0])
        assert status is not None
        assert status.said is Said.ONLINE


async def test_what_the_broker_has_kept_is_news_only_where_it_is_new(rig: Rig) -> None:
    same, other, marker = await rig.register(), await rig.register(), await rig.register()
    async with following(rig):
        for name, secret in (same, other):
            with alive(rig, name, secret) as device:
                assert device.publish(topic_of(name), b"offline", retain=True) == ALLOWED
            await until_said(rig, name, Said.OFFLINE)
        before = await status_of(rig, same[0])
    with alive(rig, *other), alive(rig, *marker):
        async with following(rig) as ingest:
            await until_said(rig, other[0], Said.ONLINE)
            await until_said(rig, marker[0], Said.ONLINE)
            await rig.until(lambda: ingest.metrics.statuses._value.get() == 2)
    assert await status_of(rig, same[0]) == before


async def test_a_bad_status_is_a_dead_letter_is_told_to_its_device_and_kept_once(rig: Rig) -> None:
    device = await rig.add_device()
    device.subscribe(f"alatau/v1/{device.id}/errors")
    async with following(rig) as ingest:
        device.client.publish(topic_of(device.id), b"asleep", qos=1, retain=True).wait_for_publish(10)
        ((topic, told),) = await asyncio.to_thread(device.next_message)
        assert topic == f"alatau/v1/{device.id}/errors"
        assert json.loads(told)["reason"] == "bad_status"
        assert ingest.metrics.dead_letters.labels("bad_status")._value.get() == 1
    async with following(rig) as ingest:
        # It comes again to who subscribes anew.
        await rig.until(lambda: ingest.metrics.dead_letters.labels("bad_status")._value.get() == 1)
    (letter,) = await rig.letters(device)
    assert (letter["reason"], letter["payload"]) == ("bad_status", b"asleep")
    assert letter["device_id"] == await rig.number_of(device)
    assert letter["detail"].startswith("status 'asleep' is none; publish online")
    assert await status_of(rig, device.id) is None
    # Or every later test would hear it.
    device.client.publish(topic_of(device.id), b"", qos=1, retain=True).wait_for_publish(10)


async def test_a_flood_of_bad_statuses_is_counted_and_a_few_are_kept(rig: Rig) -> None:
    device = await rig.add_device()
    options = rig.options(letters=LetterPolicy(each=2))
    async with rig.worker(options) as ingest:
        await rig.until(lambda: ingest._statuses.is_following)
        for number in range(5):
            device.publish(b"%d" % number, topic=topic_of(device.id))
        counted = "SELECT sum(1 + repeats) = 5 FROM alatau.dead_letter WHERE topic = $1"
        await rig.until_sql(counted, topic_of(device.id))
    assert [(one["payload"], one["repeats"]) for one in await rig.letters(device)] == [(b"0", 0), (b"1", 3)]


async def test_the_status_of_an_unknown_device_counts_when_it_is_fed_again_and_known(rig: Rig) -> None:
    gateway = await rig.gateway()
    name = "not-yet-known"
    async with following(rig):
        gateway.publish(b"offline", topic=topic_of(name))
        number = await rig.until_sql(
            "SELECT dead_letter_id FROM alatau.dead_letter WHERE topic = $1", topic_of(name)
        )
    replay = await Replay.open(rig.connection, TOPICS)
    letter = await find_letter(rig.connection, number)
    assert letter is not None
    assert letter.reason == "unknown_device"
    assert str(await replay.feed(letter)).startswith(f"still refused: no device '{name}' is registered")
    known, _ = await rig.register()
    await rig.connection.execute("UPDATE alatau.device SET id = $1 WHERE id = $2", name, known)
    assert (await replay.feed(letter)).refused is None
    assert await status_of(rig, name) == DeviceStatus(Said.OFFLINE, letter.received_at)


async def test_of_two_workers_one_follows_and_the_other_takes_its_place(rig: Rig) -> None:
    device = await rig.register()
    options = [rig.options(standby_seconds=0.05) for _ in range(2)]
    async with rig.worker(options[0]) as second:
        # The first to come may be either of them.
        async with rig.worker(options[1]) as first:
            await rig.until(lambda: first._statuses.is_following or second._statuses.is_following)
            with alive(rig, *device):
                await until_said(rig, device[0], Said.ONLINE)
            recorded = [one.metrics.statuses._value.get() for one in (first, second)]
            assert sorted(recorded) == [0, 1]
            followed = [one.metrics.statuses_followed.collect() for one in (first, second)]
            assert sorted(family[0].samples[0].value for family in map(list, followed)) == [0, 1]
        await rig.until(lambda: second._statuses.is_following)
        with alive(rig, *device) as dying:
            dying.break_off()
            await until_said(rig, device[0], Said.OFFLINE)
