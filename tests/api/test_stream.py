"""What happens now, as a browser hears it: on real sockets, from readings that are stored as ingest stores them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest

from api.app import ApiOptions, create_app
from api.live_alerts import AlertWatch
from api.live_picture import News
from api.live_ticks import Cursor, make_tick
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.statuses import Said
from sensors.times import to_microseconds
from storage.alerts import AlertState
from storage.api_keys import Role, Scope, generate_key, prefix_of, revoke_key, store_key
from storage.device_status import Heard, record_statuses
from storage.devices import register_devices
from storage.users import set_role
from tests.alerts.making import MINUTE, NOON, PATTERN, of_device, passed
from tests.api.answers import NOW, problem
from tests.api.conftest import listen
from tests.api.people import Clock, add_person, sign_in_options, signed_in
from tests.api.streams import LIVE, Station, Stations, Writer, heard
from tests.cities import City


@pytest.fixture(scope="module")
def station_of(options: ApiOptions, key: str) -> Stations:
    @contextlib.asynccontextmanager
    async def start(**changes: Any) -> AsyncIterator[Station]:
        clock = Clock(NOW)
        live = dataclasses.replace(LIVE, **changes)
        changed = dataclasses.replace(options, live=live, sign_in=sign_in_options())
        app = create_app(changed, clock=clock)
        async with listen(app) as url:
            yield Station(app, url, key, clock)

    return start


@pytest.fixture(scope="module")
async def station(station_of: Stations) -> AsyncIterator[Station]:
    async with station_of() as station:
        yield station


@pytest.fixture(scope="module")
async def write(city: City) -> Writer:
    writer = Writer(city)
    await writer("air-1", pm2_5=1.0, temperature=2.0)
    return writer


@pytest.fixture
async def alone(city: City) -> AsyncIterator[None]:
    """No alerts but those of the test."""
    clear = "TRUNCATE alatau.alert, alatau.alert_event CASCADE"
    await city.owner.execute(clear)
    yield
    await city.owner.execute(clear)


async def test_what_is_new_of_a_device_is_told(station: Station, write: Writer) -> None:
    async with station.listen() as listener:
        time = await write("air-1", pm2_5=12.5)
        reading = await listener.reading("air-1")
    assert dt.datetime.fromisoformat(reading.pop("time")) == time
    assert dt.datetime.fromisoformat(reading.pop("received_at")) == time + dt.timedelta(seconds=2)
    assert reading == {
        "device": "air-1",
        "kind": "air_quality",
        "district": "gate",
        "values": {"pm2_5": 12.5},
    }


async def test_a_lost_notification_is_made_up_for(station: Station, write: Writer) -> None:
    async with station.listen() as listener:
        await write.quietly("air-1", pm2_5=13.5)
        assert (await listener.reading("air-1"))["values"] == {"pm2_5": 13.5}


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ({}, {"pm2_5": 7.0, "temperature": 8.0}),
        ({"metric": "temperature,laeq"}, {"temperature": 8.0}),
        ({"district": "golden,green"}, {"pm2_5": 7.0, "temperature": 8.0}),
        ({"kind": "air_quality", "metric": "pm2_5"}, {"pm2_5": 7.0}),
        ({"device": "air-2"}, {"pm2_5": 7.0, "temperature": 8.0}),
        ({"device": "air-2", "metric": "pm2_5", "events": "readings"}, {"pm2_5": 7.0}),
    ],
)
async def test_only_what_was_asked_for_is_told(
    station: Station, write: Writer, query: dict[str, str], values: dict[str, float]
) -> None:
    async with station.listen(**query) as listener:
        # Neither its metric, district, kind nor device is wanted by any but the first.
        await write("weather-1", "weather", wind_speed=3.0)
        await write("air-2", pm2_5=7.0, temperature=8.0)
        told = [await listener.reading() for _ in range(1 if query else 2)]
    everything = {} if query else {"weather-1": {"wind_speed": 3.0}}
    assert {one["device"]: one["values"] for one in told} == {"air-2": values} | everything


@pytest.mark.parametrize(
    ("query", "nearest"),
    [
        ({"events": "reading"}, "readings"),
        ({"metric": "pm25"}, "pm2_5"),
        ({"district": "gates"}, "gate"),
        ({"kind": "air"}, None),
        ({"device": "air-1x"}, "air-1"),
        ({"devise": "air-1"}, "device"),
    ],
)
async def test_what_there_is_not_is_refused_with_what_is_nearest(
    station: Station, query: dict[str, str], nearest: str | None
) -> None:
    async with station.answer(**query) as response:
        await response.aread()
        document = problem(response, 422, "unknown-parameter" if "devise" in query else "invalid-parameter")
    assert nearest is None or document["nearest"] == nearest


SCOPES = {
    "gate": Scope(districts=("gate",)),
    "noise": Scope(kinds=("noise",)),
    "none": Scope(("green",), ("noise",)),
}


@pytest.fixture(scope="module")
async def scoped(city: City) -> dict[str, str]:
    keys = {name: generate_key() for name in SCOPES}
    for name, scope in SCOPES.items():
        await store_key(city.owner, keys[name], name, role=Role.VIEWER, scope=scope)
    return keys


async def test_a_key_with_a_scope_hears_of_its_part_alone(
    station: Station, write: Writer, scoped: dict[str, str]
) -> None:
    """Live, and of what it has missed; the same as one without who asks for that part."""
    async with contextlib.AsyncExitStack() as stack:
        one_of = {
            name: await stack.enter_async_context(station.listen(key=key)) for name, key in scoped.items()
        }
        before = one_of["gate"].last_id
        await write("air-2", pm2_5=1.5)
        await write("traffic-1", "traffic_flow", speed=30.0)
        await write("sim-1", "noise", laeq=50.0)
        await write("weather-1", "weather", temperature=4.0)
        await write("air-1", pm2_5=2.5)
        for name, devices in {"gate": {"weather-1", "air-1"}, "noise": {"sim-1"}}.items():
            told = {(await one_of[name].reading())["device"]}
            while told < devices:
                told.add((await one_of[name].reading())["device"])
            assert told == devices
        everything = await stack.enter_async_context(station.listen(after=before))
        told = set()
        while told < {"air-1", "air-2", "sim-1", "traffic-1", "weather-1"}:
            told.add((await everything.reading())["device"])
        for name, query in {"gate": {"district": "gate"}, "noise": {"kind": "noise"}}.items():
            part = await stack.enter_async_context(station.listen(key=scoped[name], after=before))
            same = await stack.enter_async_context(station.listen(after=before, **query))
            assert await part.event() == await same.event()
        # Who sees nothing was told nothing until the end.
        for client in station.app.state.hub.clients:
            client.end()
        assert await one_of["none"].event() is None


async def test_a_scope_is_not_left_by_asking(station: Station, scoped: dict[str, str]) -> None:
    for query in ({"district": "golden"}, {"district": "gate,golden"}):
        async with station.answer(key=scoped["gate"], **query) as response:
            await response.aread()
            problem(response, 403, "forbidden")
    async with station.answer(key=scoped["gate"], device="air-2") as response:
        await response.aread()
        assert 'no device has the id "air-2"' in problem(response, 422, "invalid-parameter")["detail"]


async def test_a_device_that_falls_silent_and_comes_back_is_told(station_of: Stations, write: Writer) -> None:
    async with station_of() as station, station.listen(events="status") as listener:
        last = await write("air-1", pm2_5=3.0)
        limit = dt.timedelta(minutes=3)
        station.clock.now = last + limit + dt.timedelta(seconds=1)
        silent = await listener.status("air-1")
        assert (silent["status"], silent["kind"], silent["district"]) == ("offline", "air_quality", "gate")
        assert dt.datetime.fromisoformat(silent["time"]) == last + limit
        back = station.clock.now
        await write.at(back, "air-1", pm2_5=4.0)
        online = await listener.status("air-1")
        assert (online["status"], dt.datetime.fromisoformat(online["time"])) == ("online", back)
        said = back + dt.timedelta(seconds=1)
        await record_statuses(write.city.ingest, [Heard("air-1", Said.OFFLINE, to_microseconds(said))])
        gone = await listener.status("air-1")
        assert (gone["status"], dt.datetime.fromisoformat(gone["time"])) == ("offline", said)
    await write.city.owner.execute("DELETE FROM alatau.device_status")
    # The other tests' readings are newer than it again.
    await write.city.owner.execute("DELETE FROM alatau.latest")
    await write("air-1", pm2_5=1.0, temperature=2.0)


@pytest.mark.usefixtures("alone")
async def test_each_change_of_an_alert_is_told_to_who_may_see_it(
    station: Station, city: City, scoped: dict[str, str]
) -> None:
    async with (
        station.listen(metric="pm2_5", district="gate") as listener,
        station.listen(events="alerts", key=scoped["noise"]) as other,
        httpx2.AsyncClient(base_url=station.url, headers={"X-API-Key": station.key}) as client,
    ):
        before = listener.last_id
        await passed(city.owner, [PATTERN])
        raised = await listener.alert()
        assert (raised["state"], raised["device"], raised["value"]) == ("firing", "air-1", 163.2)
        path = f"/api/v1/alerts/{raised['id']}"
        answer = (await client.get(path)).json()
        del answer["history"]
        assert raised == answer
        assert (await client.post(f"{path}/acknowledge", json={"note": "seen"})).status_code == 200
        acknowledged = await listener.alert()
        assert acknowledged["acknowledged"]["note"] == "seen"
        await passed(city.owner, [of_device("sim-1", "noise", "growing", "laeq")], NOON + 60 * MINUTE)
        assert (await listener.alert())["state"] == "resolved"
        assert (await other.alert())["device"] == "sim-1"
        async with station.listen(events="alerts", key=scoped["noise"], after=before) as again:
            missed = await again.event()
        assert missed is not None
        assert [alert["device"] for alert in missed.data["alerts"]] == ["sim-1"]


@pytest.mark.usefixtures("alone")
async def test_what_is_only_said_anew_is_told_and_has_not_changed(station: Station, city: City) -> None:
    async with station.listen(events="alerts") as listener:
        await passed(city.owner, [PATTERN])
        raised = await listener.alert()
        # Not after a minute, but after some.
        for minutes in (1, 5):
            said = dataclasses.replace(PATTERN, sentence=f"It is so for {minutes} minutes.")
            await passed(city.owner, [said], NOON + minutes * MINUTE)
        renewed = await listener.alert()
        assert renewed == {**raised, "sentence": "It is so for 5 minutes."}
        await passed(city.owner, [dataclasses.replace(said, severity="critical")], NOON + 5 * MINUTE)
        graver = await listener.alert()
        assert (graver["severity"], graver["changed_at"]) == ("critical", "2026-01-15T12:05:00Z")
        await passed(city.owner, [], NOON + 60 * MINUTE)
        assert (await listener.alert())["state"] == "resolved"


@pytest.mark.usefixtures("alone")
async def test_what_was_told_of_alerts_is_not_read_again(city: City, catalogue: Catalogue) -> None:
    watch = AlertWatch()
    await passed(city.owner, [PATTERN])
    said = await watch.read(city.owner, NOW)
    told = watch.take(said, catalogue, None)
    assert [one.content["id"] for one in told] == [str(number) for number in said.alerts]
    assert (await watch.read(city.owner, NOW)).alerts == {}
    await passed(city.owner, [])
    assert {one.state for one in (await watch.read(city.owner, NOW)).alerts.values()} == {AlertState.RESOLVED}


async def test_who_comes_again_is_told_what_it_missed_and_nothing_else_in_any_process(
    station: Station, station_of: Stations, write: Writer
) -> None:
    async with station.listen(device="air-1") as listener:
        before = listener.last_id
        await write("air-1", pm2_5=21.0)
        await listener.reading("air-1")
        await listener.until(lambda one: one.last_id != before)
        last = listener.last_id
    await write("air-1", pm2_5=22.0)
    await write("air-1", temperature=5.0)
    async with station.listen(device="air-1", after=last) as listener:
        missed: dict[str, float] = {}
        while len(missed) < 2:
            reading = await listener.reading("air-1")
            missed |= reading["values"]
        assert missed == {"pm2_5": 22.0, "temperature": 5.0}
    # Another process, or this one after a restart, has the newest of the same device.
    async with station_of() as other, other.listen(device="air-1", events="readings", after=last) as listener:
        event = await listener.event()
        assert event is not None
        assert event.name == "readings"
        assert {"temperature": 5.0} in [reading["values"] for reading in event.data["readings"]]


@pytest.mark.parametrize("after", ["nonsense", Cursor(0, 0).encode(), Cursor(2**62, 0).encode()])
async def test_who_was_away_for_too_long_is_told_so(station: Station, after: str) -> None:
    async with station.listen(after=after) as listener:
        event = await listener.event()
        assert event is not None
        assert event.name == "missed"
        assert "/api/v1/latest" in event.data["detail"]
        await listener.until(lambda one: bool(one.last_id))


async def test_a_lost_connection_to_the_database_loses_no_reading(
    station: Station, write: Writer, superuser: asyncpg.Connection
) -> None:
    async with station.listen(device="air-1") as listener:
        async with write.city.ingest.transaction():
            await write("air-1", pm2_5=30.0)
            ended = await superuser.fetchval(
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
                "WHERE application_name = 'alatau-api-live' AND datname = $1",
                await write.city.owner.fetchval("SELECT current_database()"),
            )
            assert ended == 1  # for all clients
        assert (await listener.reading("air-1"))["values"] == {"pm2_5": 30.0}


async def test_what_was_begun_before_and_committed_after_a_look_is_told_once(
    station: Station, write: Writer
) -> None:
    spec = DeviceSpec("traffic-2", "traffic_flow", "gate")
    write.city.number.update(await register_devices(write.city.owner, [spec], write.city.catalogue))
    other = Writer(dataclasses.replace(write.city, ingest=write.city.owner))
    async with station.listen(events="readings") as listener:
        async with write.city.ingest.transaction():
            await write.quietly("air-2", pm2_5=40.0)
            await other.quietly("traffic-2", "traffic_flow", speed=20.0)
            assert (await listener.reading())["device"] == "traffic-2"
        assert (await listener.reading())["values"] == {"pm2_5": 40.0}
        await write("air-2", pm2_5=41.0)
        assert (await listener.reading())["values"] == {"pm2_5": 41.0}


async def test_a_slow_client_is_dropped_and_counted_and_others_go_on(
    station_of: Stations, write: Writer
) -> None:
    async with station_of(max_behind=3) as station, station.listen(events="readings") as quick:
        host, port = station.url.removeprefix("http://").split(":")
        _, slow = await asyncio.open_connection(host, int(port), limit=1)
        slow.write(
            b"GET /api/v1/stream HTTP/1.1\r\nHost: a\r\nX-API-Key: " + station.key.encode() + b"\r\n\r\n"
        )
        hub = station.app.state.hub
        async with asyncio.timeout(10):
            while len(hub.clients) < 2:  # noqa: ASYNC110 - the hub tells nobody
                await asyncio.sleep(0.01)
            # More than the buffers of both systems hold; the quick one takes each before the next.
            number = 0
            while len(hub.clients) == 2:
                number += 1
                content = {"device": "air-1", "values": {"pm2_5": number}, "filling": "x" * 2_000_000}
                news = [News(("air_quality", "gate"), "air-1", content)]
                hub.tell(make_tick(Cursor(1, number), {"readings": news, "status": []}))
                assert (await quick.reading("air-1"))["values"] == {"pm2_5": number}
        metrics = httpx2.AsyncClient(base_url=station.url)
        async with metrics:
            text = (await metrics.get("/metrics")).text
        assert "alatau_api_live_dropped_total 1.0" in text
        assert "alatau_api_live_clients 1.0" in text
        await write("air-1", pm2_5=50.0)
        assert (await quick.reading("air-1"))["values"] == {"pm2_5": 50.0}
        slow.close()


async def test_a_revoked_key_hears_no_more(station: Station, city: City, write: Writer) -> None:
    key = generate_key()
    await store_key(city.owner, key, "short", role=Role.VIEWER)
    async with station.listen(key=key) as listener, station.listen() as other:
        await revoke_key(city.owner, str(prefix_of(key)))
        await listener.end()
        await write("air-2", pm2_5=60.0)
        assert (await other.reading())["values"] == {"pm2_5": 60.0}


@pytest.mark.parametrize("how", ["signs out", "sees less"])
async def test_a_session_that_ends_hears_no_more(station: Station, city: City, how: str) -> None:
    name = how.replace(" ", "-")
    await add_person(city, name, Role.VIEWER)
    async with asyncio.timeout(20), httpx2.AsyncClient(base_url=station.url) as browser:
        await signed_in(browser, name)
        async with browser.stream("GET", "/api/v1/stream") as response:
            listener = await heard(response)
            await listener.until(lambda one: bool(one.last_id))
            if how == "signs out":
                left = await browser.delete("/api/v1/session")
                assert left.status_code == 204
            else:
                await set_role(city.owner, name, Role.VIEWER, Scope(districts=("gate",)))
            await listener.end()


async def test_streams_take_no_turns_and_there_are_only_so_many(station_of: Stations, city: City) -> None:
    another = generate_key()
    await store_key(city.owner, another, "another", role=Role.VIEWER)
    before = await _readers(city)  # of another application, in case its clients come back
    async with station_of(max_clients=7, max_of_one=6) as station, contextlib.AsyncExitStack() as stack:
        for _ in range(6):  # more than requests of one key that are answered at once
            await stack.enter_async_context(station.listen())
        async with httpx2.AsyncClient(base_url=station.url, headers={"X-API-Key": station.key}) as client:
            assert (await client.get("/api/v1/latest")).status_code == 200
        async with station.answer() as response:
            await response.aread()
            assert "6 streams of this key" in problem(response, 429, "too-many-requests")["detail"]
        await stack.enter_async_context(station.listen(key=another))
        async with station.answer(key=another) as response:
            await response.aread()
            assert response.headers["Retry-After"]
            assert "7 streams are open" in problem(response, 503, "unavailable")["detail"]
        assert await _readers(city) == before + 1  # for all of them


async def _readers(city: City) -> int:
    return int(
        await city.owner.fetchval(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name = 'alatau-api-live' AND datname = current_database()"
        )
    )


async def test_a_quiet_stream_is_kept_open_and_goes_on_from_where_it_is(station_of: Stations) -> None:
    async with station_of(heartbeat_seconds=0.0) as station, station.listen(device="air-2") as listener:
        first = listener.last_id
        await listener.until(lambda one: one.comments > 0)
        await listener.until(lambda one: one.last_id != first)


async def test_a_server_that_stops_ends_its_streams(station_of: Stations) -> None:
    async with contextlib.AsyncExitStack() as server:
        station = await server.enter_async_context(station_of())
        async with station.listen() as listener:
            stopping = asyncio.create_task(server.aclose(), name="test.stop")
            await listener.end()
        await stopping


async def test_a_stream_ends_in_time_and_its_head_is_told(station_of: Stations) -> None:
    async with station_of(longest_seconds=0.0) as station, station.answer() as response:
        await (await heard(response)).end()
        async with httpx2.AsyncClient(base_url=station.url, headers={"X-API-Key": station.key}) as client:
            head = await client.head("/api/v1/stream")
    assert head.headers["cache-control"] == "no-store"
