"""Other formats on the real database: what is seen is kept, and nothing falls between a claim and what came before."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator

import pytest
from mqtt5 import PublishPacket

from ingest.arrivals import Arrivals
from ingest.commit import Committer
from ingest.decoders.table import FORMATS
from ingest.directory import Directory
from ingest.intake import Cut
from ingest.metrics import IngestMetrics
from ingest.replay import Replay
from ingest.routes import Routes
from ingest.wire import Wire
from sensors.checks import Reason
from sensors.kinds import DeviceSpec
from sensors.times import SECOND
from sensors.topics import Topics
from storage.dead_letters import letters_of_topics
from storage.devices import register_devices
from storage.lessons import load_lessons
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

    async def claim(self) -> None:
        async with self.rig.connection.transaction():
            await claim_source(self.rig.connection, "chirpstack", self.eui, self.device, None)

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


async def test_a_name_that_the_database_refuses_becomes_a_letter(rig: Rig, worker: Worker) -> None:
    await worker.committer.commit(worker.cut(worker.uplink(1, field="a\0b"), worker.uplink(1)))
    letters = await rig.connection.fetch(
        "SELECT reason FROM alatau.dead_letter WHERE topic = $1 ORDER BY received_at", worker.topic
    )
    assert [letter["reason"] for letter in letters] == [Reason.REFUSED_BY_DATABASE, Reason.UNCLAIMED]
