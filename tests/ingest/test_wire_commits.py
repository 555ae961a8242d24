"""Other formats on the real database: what is seen is kept, and nothing falls between a claim and what came before."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator

import asyncpg
import pytest
from mqtt5 import PublishPacket

from ingest.arrivals import Arrivals
from ingest.commit import Committer
from ingest.decoders.table import FORMATS
from ingest.directory import Directory
from ingest.intake import Cut
from ingest.kept import KeptReplay, store_kept
from ingest.metrics import IngestMetrics
from ingest.replay import Replay
from ingest.routes import Routes
from ingest.wire import Wire
from sensors.checks import Reason
from sensors.kinds import DeviceSpec
from sensors.times import SECOND
from sensors.topics import Topics
from storage.database import connect
from storage.dead_letters import letters_of_topics
from storage.devices import register_devices
from storage.kept import KEPT_TURN, count_kept, note_kept, sources_with_kept
from storage.lessons import load_lessons
from storage.turns import take_turn
from storage.wire_sources import claim_source, find_source, release_source
from tests.ingest.conftest import Rig

_numbers = itertools.count(1)
NOW = 1_767_225_600 * SECOND
pytestmark = pytest.mark.servers


class Worker:
    """A worker without its broker: cuts of messages, committed."""

    def __init__(self, rig: Rig) -> None:
        self.rig, number = rig, next(_numbers)
        self.device, self.eui = f"wire-{number}", f"24e124aa{number:08}"
        self.topic = f"application/a/device/{self.eui}/event/up"
        self.routes = Routes(Topics(), Wire(FORMATS))
        options = rig.options(formats=FORMATS)
        self.directory = Directory(options.database_url, self.routes)
        self.committer = Committer(options, self.directory, IngestMetrics(), lambda: NOW)

    def cut(self, *messages: tuple[str, bytes]) -> Cut:
        cut = Cut(self.routes, Arrivals())
        cut.feed([PublishPacket(topic, payload) for topic, payload in messages], NOW)
        return cut

    def uplink(self, temperature: float, second: int = 0, field: str = "temperature") -> tuple[str, bytes]:
        said = {
            "time": f"2026-01-01T00:00:{second:02}Z",
            "deviceInfo": {"devEui": self.eui},
            "object": {field: temperature},
        }
        return self.topic, json.dumps(said).encode()

    async def claim(self, connection: asyncpg.Connection | None = None) -> None:
        connection = connection or self.rig.connection
        async with connection.transaction():
            await claim_source(connection, "chirpstack", self.eui, self.device, None)

    async def temperatures(self) -> list[float]:
        rows = await self.rig.connection.fetch(
            "SELECT temperature FROM reading.weather JOIN alatau.device USING (device_id) WHERE id = $1 ORDER BY time",
            self.device,
        )
        return [row["temperature"] for row in rows]

    async def close(self) -> None:
        await self.committer.close()
        await self.directory._drop()


@pytest.fixture
async def worker(rig: Rig) -> AsyncIterator[Worker]:
    await rig.connection.execute("UPDATE alatau.source SET kept_after = NULL")  # of other tests
    worker = Worker(rig)
    await register_devices(rig.connection, [DeviceSpec(worker.device, "weather", "gate")], rig.catalogue)
    await worker.directory.refresh()
    yield worker
    await worker.close()


async def test_what_came_before_the_claim_is_kept_and_stored_after_it(rig: Rig, worker: Worker) -> None:
    await worker.committer.commit(worker.cut(worker.uplink(1), worker.uplink(2, 1)))
    source = await find_source(rig.connection, "chirpstack", worker.eui)
    assert source is not None
    assert (source.device, source.messages, source.topics) == (None, 2, [worker.topic])
    assert source.fields["temperature"] == [2, None]
    await worker.claim()
    replay = await Replay.open(rig.connection, Topics())
    for letter in await letters_of_topics(rig.connection, source.topics):
        assert (await replay.feed(letter)).refused is None
    assert await worker.temperatures() == [1, 2]
    assert not await letters_of_topics(rig.connection, source.topics)


async def test_a_source_that_is_claimed_while_its_reading_is_under_way_is_stored_at_once(
    rig: Rig, worker: Worker
) -> None:
    cut = worker.cut(worker.uplink(1))
    assert cut.faulty, "this worker has not heard of the claim"
    await worker.claim()
    await worker.committer.commit(cut)
    assert await worker.temperatures() == [1]
    assert not cut.faulty


async def test_a_source_that_is_released_is_nobodys_again(rig: Rig, worker: Worker) -> None:
    await worker.claim()
    await worker.directory.refresh(anew=True)
    await worker.committer.commit(worker.cut(worker.uplink(1)))
    async with rig.connection.transaction():
        assert await release_source(rig.connection, "chirpstack", worker.eui)
    await worker.directory.refresh(anew=True)
    await worker.committer.commit(worker.cut(worker.uplink(2, 1)))
    assert await worker.temperatures() == [1]
    assert [letter.reason for letter in await letters_of_topics(rig.connection, [worker.topic])] == [
        Reason.UNCLAIMED
    ]


async def test_births_and_states_are_kept_with_the_readings(rig: Rig, worker: Worker) -> None:
    description = b'{"homie":"5.0","nodes":{}}'
    await worker.committer.commit(
        worker.cut(
            (f"homie/5/{worker.device}/$description", description),
            (f"homie/5/{worker.device}/$state", b"ready"),
        )
    )
    topics = [lesson.topic for lesson in await load_lessons(rig.connection)]
    assert topics == [f"homie/5/{worker.device}/$description"]
    said = await rig.connection.fetchval(
        "SELECT said FROM alatau.device_status JOIN alatau.device USING (device_id) WHERE id = $1",
        worker.device,
    )
    assert said == "online"


async def test_names_that_no_row_can_have_hold_nothing_up(rig: Rig, worker: Worker) -> None:
    """Two of them that begin alike are one row twice; a topic may be too long for an index."""
    names = ["urn:dev:mac:" + "b" * 238 + end + "/" for end in "cd"]
    packs = [json.dumps([{"bn": name, "n": "t", "v": 1}]).encode() for name in names]
    messages = [(f"senml/{worker.device}", pack) for pack in packs]
    messages.append((f"zigbee2mqtt/{os.urandom(3000).hex()}/bridge/devices", b"[]"))
    await worker.committer.commit(worker.cut(*messages, worker.uplink(1, field="a\0b"), worker.uplink(1)))
    letters = await rig.connection.fetch(
        "SELECT reason FROM alatau.dead_letter WHERE topic = ANY($1)",
        [worker.topic, f"senml/{worker.device}"],
    )
    assert [letter["reason"] for letter in letters] == [Reason.UNCLAIMED] * 4
    source = await find_source(rig.connection, "chirpstack", worker.eui)
    assert source is not None
    assert "temperature" in source.fields


async def test_what_an_unclaimed_source_says_is_bounded(rig: Rig, worker: Worker) -> None:
    for turn in range(3):
        said = {f"f{turn}_{place}": 1 for place in range(60)}
        message = {"time": "2026-01-01T00:00:00Z", "deviceInfo": {"devEui": worker.eui}, "object": said}
        await worker.committer.commit(worker.cut((worker.topic, json.dumps(message).encode())))
    source = await find_source(rig.connection, "chirpstack", worker.eui)
    assert source is not None
    assert len(source.fields) == 100
    assert {f"f2_{place}" for place in range(60)} <= source.fields.keys(), "what came last is known"


async def test_a_worker_reads_again_what_was_kept_once_the_api_s_role_has_claimed_it(
    rig: Rig, worker: Worker
) -> None:
    await worker.committer.commit(worker.cut(worker.uplink(1), worker.uplink(2, 1)))
    kept = KeptReplay(rig.database.ingest_url, Topics())
    directory = Directory(rig.database.ingest_url, worker.routes, kept.wake)
    await directory.refresh()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part.run(), name="test.kept") for part in (kept, directory)]
        api = await connect(rig.database.api_url, application="test")
        await worker.claim(api)
        await rig.until_sql("SELECT kept_after IS NULL FROM alatau.source WHERE name = $1", worker.eui)
        for task in tasks:
            task.cancel()
    await api.close()
    assert await worker.temperatures() == [1, 2]


@pytest.fixture
async def by_ingest(rig: Rig) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(rig.database.ingest_url, application="test")
    assert await take_turn(connection, KEPT_TURN)
    yield connection
    await connection.close()


async def test_what_was_kept_is_read_in_pages_and_what_the_database_refuses_holds_up_nothing(
    rig: Rig, worker: Worker, by_ingest: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.kept._PAGE", 2)
    uplinks = [worker.uplink(celsius, second) for second, celsius in enumerate([1, 13, 2, 3, 4])]
    await worker.committer.commit(worker.cut(*uplinks))
    await rig.connection.execute(
        """
        CREATE FUNCTION public.superstitious() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF new.temperature = 13 THEN RAISE 'unlucky'; END IF; RETURN new; END $$;
        CREATE TRIGGER unlucky BEFORE INSERT ON reading.weather FOR EACH ROW EXECUTE FUNCTION public.superstitious()
        """
    )
    await worker.claim()
    assert await count_kept(rig.connection, "chirpstack", worker.eui) == 5
    read: list[int] = []
    try:
        assert await store_kept(by_ingest, Topics(), read.append) == 4
    finally:
        await rig.connection.execute("DROP FUNCTION public.superstitious() CASCADE")
    assert await worker.temperatures() == [1, 2, 3, 4]
    assert read == [2, 4, 5, 5]
    (left,) = await letters_of_topics(rig.connection, [worker.topic])
    assert "unlucky" in (left.replay_verdict or "")


async def test_a_claim_anew_has_what_is_left_read_from_its_beginning(
    rig: Rig, worker: Worker, by_ingest: asyncpg.Connection
) -> None:
    await worker.committer.commit(worker.cut(worker.uplink(1)))
    await worker.claim()
    (before,) = await sources_with_kept(by_ingest)
    await worker.claim()
    assert not await note_kept(by_ingest, before, None), "it was read by the claim before"
    (now,) = await sources_with_kept(by_ingest)
    assert (now.name, now.after) == (worker.eui, 0)
    assert await store_kept(by_ingest, Topics()) == 1
    assert not await sources_with_kept(by_ingest)
