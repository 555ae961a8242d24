"""Telemetry over HTTP on the real servers: what is answered with success is stored, and nobody speaks for another."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import pathlib
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from api.serving import ConnectionLimits, Refused
from broker.secrets import generate_secret, hash_secret
from cli.local import LocalStack
from ingest.http.app import HttpPolicy
from ingest.http.bodies import BodyPolicy
from ingest.http.identity import GuessPolicy
from ingest.metrics import IngestMetrics
from ingest.service import Ingest
from sensors.catalogue import Catalogue
from sensors.rates import Rate
from stack.ports import free_port
from storage.devices import Credential, disable_device, enable_device
from storage.rotations import replace_credential
from tests.conftest import Database
from tests.ingest.posting import JSON, Service, Station, port_of, problem, serving_devices
from tests.ingest.test_kills import Worker

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
async def service(
    local_stack: LocalStack, database: Database, catalogue: Catalogue
) -> AsyncIterator[Service]:
    async with serving_devices(local_stack, database, catalogue) as service:
        yield service


async def stored(service: Service, one: Station) -> list[Any]:
    return await service.rig.connection.fetch(
        "SELECT time, pm2_5 FROM reading.air_quality JOIN alatau.device USING (device_id) WHERE id = $1 ORDER BY time",
        one.id,
    )


async def letters(service: Service, one: Station) -> list[Any]:
    return await service.rig.connection.fetch(
        "SELECT topic, payload, reason, detail FROM alatau.dead_letter WHERE topic LIKE $1", f"%/{one.id}/%"
    )


async def test_a_reading_is_stored_when_it_is_answered_in_each_native_shape(service: Service) -> None:
    at = int(time.time()) - 600
    async with service.station() as one:
        for payload in (
            {"ts": at, "pm2_5": 1},
            {"ts": at + 1, "values": {"pm2_5": 2}},
            [{"ts": at + 2, "pm2_5": 3}, {"ts": at + 3, "pm2_5": 4}],
        ):
            answer = await one.send(payload)
            assert (answer.status_code, answer.content) == (204, b"")
        assert [row["pm2_5"] for row in await stored(service, one)] == [1, 2, 3, 4]
        # The same again, after an answer that was lost on its way, changes nothing.
        assert (await one.send({"ts": at, "pm2_5": 1})).status_code == 204
        without_time = await one.client.post(
            f"/ingest/v1/{one.id}/telemetry", content=b'{"pm2_5": 5}', auth=(one.id, one.secret)
        )
        assert without_time.status_code == 204
        rows = await stored(service, one)
        assert len(rows) == 5
        assert abs((rows[-1]["time"] - dt.datetime.now(dt.UTC)).total_seconds()) < 10
        metrics = service.ingest.metrics
        assert metrics.http_messages._value.get() >= 5
        # What the broker did not send, it is not told of.
        assert metrics.acknowledged._value.get() == metrics.received._value.get() == 0
        assert metrics.messages_held() == service.ingest.posts.held == 0


async def test_a_number_is_answered_with_what_is_stored_without_a_gap(service: Service) -> None:
    at = int(time.time()) - 600
    async with service.station() as one:
        told = [(await one.send({"ts": at + n, "seq": n, "pm2_5": n})).json() for n in (1, 2, 4, 3)]
        assert told == [{"through": 1}, {"through": 2}, {"through": 2}, {"through": 4}]
        refused = await one.send({"ts": at + 5, "seq": 5, "pm2_5": 5000})
        assert problem(refused) == (422, "refused")
        assert refused.json()["through"] == 5  # what is refused is kept, too


async def test_each_refusal_is_told_and_the_message_is_kept_as_it_came(service: Service) -> None:
    body = b'{"pm2_5": 5000, "temperature": -3.1, "pm25": 1}'
    async with service.station() as one:
        answer = await one.send(body)
        assert problem(answer) == (422, "refused")
        told = answer.json()
        assert [fault["reason"] for fault in told["refused"]] == ["unknown_metric", "out_of_range"]
        assert "pm2_5" in told["refused"][0]["detail"]
        assert told["received_at"].endswith("Z")
        (letter,) = await letters(service, one)
        assert (letter["topic"], letter["payload"]) == (f"alatau/v1/{one.id}/telemetry", body)
        assert len(await stored(service, one)) == 1  # its temperature
        assert problem(await one.send(b"no JSON")) == (422, "refused")
        assert service.told("refused") >= 2


async def test_many_refusals_of_one_message_are_told_as_far_as_one_reads(service: Service) -> None:
    async with service.station() as one:
        told = (await one.send({f"wrong_{n}": 1 for n in range(150)})).json()
    assert (len(told["refused"]), told["more"]) == (100, 50)


async def test_senml_is_read_by_its_media_type_as_on_its_topic(service: Service) -> None:
    at = int(time.time()) - 600
    pack = [{"n": "pm2_5", "u": "ug/m3", "t": at, "v": 7}]
    cbor = bytes.fromhex("81a300") + b"\x65pm2_5" + b"\x06\x1a" + (at + 1).to_bytes(4) + b"\x02\x08"
    async with service.station() as one:
        answer = await one.send(pack, **{"Content-Type": "application/senml+json"})
        assert answer.status_code == 204, answer.text
        answer = await one.send(cbor, **{"Content-Type": "application/senml+cbor"})
        assert answer.status_code == 204, answer.text
        assert [row["pm2_5"] for row in await stored(service, one)] == [7, 8]
        assert problem(
            await one.send([{"n": "pm25", "v": 7}], **{"Content-Type": "application/senml+json"})
        ) == (
            422,
            "refused",
        )
        (letter,) = await service.rig.connection.fetch(
            "SELECT payload FROM alatau.dead_letter WHERE topic = $1", f"senml/{one.id}"
        )
        assert letter["payload"] == b'[{"n":"pm25","v":7}]'


async def test_a_device_of_thingsboard_has_id_and_secret_in_the_place_of_its_token(service: Service) -> None:
    async with service.station() as one:
        path = f"/api/v1/{one.id}:{one.secret}/telemetry"
        answer = await service.client.post(path, json={"pm2_5": "7.5", "note": "left out"})
        assert answer.status_code == 204, answer.text
        assert [row["pm2_5"] for row in await stored(service, one)] == [7.5]
        wrong = await service.client.post(f"/api/v1/{one.id}:wrong/telemetry", json={"pm2_5": 7})
        assert problem(wrong) == (401, "unauthorized")


async def test_who_shows_no_secret_or_a_wrong_one_is_nobody(service: Service) -> None:
    async with service.station() as one:
        path = f"/ingest/v1/{one.id}/telemetry"
        for headers in (
            {},
            {"Authorization": "Bearer abc"},
            {"Authorization": "Basic !!!"},
            {"Authorization": "Basic " + "QQ=="},
        ):
            answer = await one.client.post(path, content=b'{"pm2_5": 1}', headers=headers)
            assert problem(answer) == (401, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Basic ")
        wrong = dataclasses.replace(one, secret=one.secret[:-1] + "~")
        nobody = dataclasses.replace(one, id="nobody-1")
        for somebody in (wrong, nobody, dataclasses.replace(one, user="alatau-ingest")):
            assert problem(await somebody.send({"pm2_5": 1})) == (401, "unauthorized")
        assert await stored(service, one) == await letters(service, one) == []


async def test_a_device_speaks_for_itself_alone(service: Service) -> None:
    async with service.station() as one:
        other, _secret = await service.register()
        answer = await one.send({"pm2_5": 1}, path=f"/ingest/v1/{other}/telemetry")
        assert problem(answer) == (403, "forbidden")
        assert await stored(service, one) == []


async def test_a_disabled_device_is_out_with_the_next_request_and_in_again_when_it_is_enabled(
    service: Service,
) -> None:
    async with service.station() as one:
        assert (await one.send({"pm2_5": 1})).status_code == 204
        await disable_device(service.rig.connection, one.id)
        assert problem(await one.send({"pm2_5": 2})) == (403, "forbidden")
        wrong = dataclasses.replace(one, secret="x" * 32)
        assert problem(await wrong.send({"pm2_5": 2})) == (
            401,
            "unauthorized",
        )  # not told what it may not know
        await enable_device(service.rig.connection, one.id)
        assert (await one.send({"pm2_5": 3})).status_code == 204


async def test_a_replaced_secret_is_out_at_once_and_after_a_rotation_when_its_time_is_over(
    service: Service,
) -> None:
    async def replace(grace: dt.timedelta) -> str:
        secret = generate_secret()
        hashed = hash_secret(secret)
        credential = Credential(hashed.salt, hashed.hash, hashed.iterations)
        await replace_credential(service.rig.connection, one.id, credential, grace)
        return secret

    async with service.station() as one:
        assert (await one.send({"pm2_5": 1})).status_code == 204
        second = dataclasses.replace(one, user=f"{one.id}~2", secret=await replace(dt.timedelta(hours=1)))
        assert (await one.send({"pm2_5": 2})).status_code == 204
        assert (await second.send({"pm2_5": 3})).status_code == 204
        await service.rig.connection.execute(
            "UPDATE alatau.device_credential SET until = now() WHERE until IS NOT NULL"
        )
        assert problem(await one.send({"pm2_5": 4})) == (401, "unauthorized")
        third = dataclasses.replace(one, secret=await replace(dt.timedelta()))
        assert problem(await second.send({"pm2_5": 5})) == (401, "unauthorized")
        assert (await third.send({"pm2_5": 6})).status_code == 204


async def test_who_guesses_waits_and_others_behind_the_same_address_go_on(service: Service) -> None:
    guesses = GuessPolicy(each=Rate(0.01, 3), address=Rate(0.01, 8))
    async with service.station(HttpPolicy(guesses=guesses)) as one:
        assert (await one.send({"pm2_5": 1})).status_code == 204
        wrong = dataclasses.replace(one, secret="x" * 32)
        tried = [await wrong.send({"pm2_5": 2}) for _ in range(5)]
        assert [answer.status_code for answer in tried] == [401, 401, 401, 429, 429]
        assert int(tried[-1].headers["retry-after"]) > 10
        # With ever new names, at once.
        names = [dataclasses.replace(wrong, id=f"guess-{n}") for n in range(10)]
        answers = await asyncio.gather(*(name.send({"pm2_5": 2}) for name in names))
        assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 5
        assert (await one.send({"pm2_5": 3})).status_code == 204
        assert service.told("too-many-requests") == 7


async def test_what_is_no_message_is_not_read(service: Service) -> None:
    bodies = BodyPolicy(size=1000, seconds=0.4, together=1500)
    async with service.station(HttpPolicy(bodies)) as one:
        assert problem(await one.send(b"[" + b" " * 1000)) == (413, "body-too-large")
        form = await one.send(b"pm2_5=1", **{"Content-Type": "application/x-www-form-urlencoded"})
        assert problem(form) == (415, "unsupported-media-type")
        packed = await one.send(b"\x1f\x8b", **{"Content-Encoding": "gzip"})
        assert problem(packed) == (415, "unsupported-media-type")
        assert problem(await one.client.get(f"/ingest/v1/{one.id}/telemetry")) == (405, "method-not-allowed")
        assert problem(await one.client.post("/metrics")) == (404, "not-found")

        async def parts(size: int, pause: float = 0) -> AsyncIterator[bytes]:
            for _ in range(size // 100):
                yield b" " * 100
                await asyncio.sleep(pause)

        async def chunked(content: AsyncIterator[bytes]) -> httpx2.Response:
            return await one.client.post(
                f"/ingest/v1/{one.id}/telemetry", content=content, headers=JSON, auth=(one.id, one.secret)
            )

        assert problem(await chunked(parts(2000))) == (413, "body-too-large")
        assert problem(await chunked(parts(500, pause=0.2))) == (408, "too-slow")
        assert await stored(service, one) == await letters(service, one) == []
        together = await asyncio.gather(*(chunked(parts(900, pause=0.002)) for _ in range(3)))
        assert 503 in {answer.status_code for answer in together}
        assert (await one.send({"pm2_5": 1})).status_code == 204  # nothing of them is held


async def test_one_connection_too_many_of_an_address_is_ended(service: Service) -> None:
    limits = ConnectionLimits(per_address=1)
    async with service.station(limits=limits) as one:
        assert (await one.send({"pm2_5": 1})).status_code == 204
        with pytest.raises(httpx2.TransportError):
            async with httpx2.AsyncClient(base_url=one.client.base_url) as second:
                await dataclasses.replace(one, client=second).send({"pm2_5": 2})
        await service.rig.until(lambda: service.ended("too_many") == 1)


def test_every_end_of_a_connection_is_counted() -> None:
    ends = IngestMetrics()._http_refused.collect()
    assert {sample.labels["reason"] for one in ends for sample in one.samples} == set(Refused)


async def test_while_the_database_is_away_nothing_is_promised_and_the_same_again_is_stored_once(
    service: Service,
) -> None:
    reading = {"ts": int(time.time()) - 600, "pm2_5": 1}
    async with service.station() as one:
        assert (await one.send(reading)).status_code == 204
        await service.link.refuse()
        service.link.cut()
        answer = await one.send(reading)
        assert problem(answer) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        await service.link.accept()
        assert (await one.send(reading)).status_code == 204
        assert len(await stored(service, one)) == 1


async def test_a_commit_whose_answer_is_lost_is_answered_and_its_letter_kept_once(service: Service) -> None:
    async with service.station() as one:
        assert (await one.send({"pm2_5": 1})).status_code == 204
        service.link.cut_answer_to(b"COMMIT")
        answer = await one.send({"pm2_5": 2, "wrong": 1})
        assert service.link.answers_cut == 1
        assert problem(answer) == (422, "refused")
        assert [row["pm2_5"] for row in await stored(service, one)] == [1, 2]
        assert len(await letters(service, one)) == 1


async def test_without_the_broker_it_goes_on(service: Service) -> None:
    rig, stop = service.rig, asyncio.Event()
    options = rig.options()
    nowhere = dataclasses.replace(options.session, port=free_port())
    ingest = Ingest(dataclasses.replace(options, session=nowhere))
    task = asyncio.create_task(ingest.run(stop), name="test.ingest")
    await rig.until(lambda: ingest.readiness()[2] == "broker_away")
    name, secret = await service.register()
    async with port_of(ingest) as client:
        assert (await Station(client, name, secret).send({"pm2_5": 1})).status_code == 204
        stop.set()
        await task
        assert problem(await Station(client, name, secret).send({"pm2_5": 2})) == (503, "unavailable")


async def test_what_was_answered_before_a_kill_is_stored(service: Service, tmp_path: pathlib.Path) -> None:
    rig, port = service.rig, free_port()
    name, secret = await service.register()
    at, sent, answered = int(time.time()) - 5000, 0, set[int]()
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        one = Station(client, name, secret)

        async def send(number: int) -> None:
            with contextlib.suppress(httpx2.TransportError):
                if (await one.send({"ts": at + number, "pm2_5": number % 500})).status_code == 204:
                    answered.add(at + number)

        worker = Worker(rig, tmp_path, ALATAU_INGEST_HTTP_PORT=str(port))
        try:
            worker.start()
            await worker.until_ready()
            sending: list[asyncio.Task[None]] = []
            while len(answered) < 300:
                sending += [asyncio.create_task(send(sent + n), name="test.send") for n in range(20)]
                sent += 20
                await asyncio.sleep(0.01)
            worker.kill()
            await asyncio.gather(*sending)
        finally:
            worker.close()
    times = {int(row["time"].timestamp()) for row in await stored(service, one)}
    assert answered <= times
    assert sent > len(answered), "it was killed in the midst of requests"
