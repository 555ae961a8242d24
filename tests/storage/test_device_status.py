"""The last word of each device: what is news, what keeps its time, and for how long an ``offline`` counts."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator

import pytest

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.statuses import Said, is_gone
from sensors.times import SECOND, from_microseconds, to_microseconds
from storage.alert_inputs import read_fleet
from storage.device_status import Heard, Recorded, record_statuses, statuses_since
from storage.devices import DeviceStatus, find_device
from storage.fleet import Look, Patience, State, count_fleet
from storage.latest_changes import look
from storage.selection import Selection
from tests.api.answers import NOW
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

DEVICES = (DeviceSpec("air-1", "air_quality", "gate"), DeviceSpec("air-2", "air_quality", "golden"))
NOON = to_microseconds(NOW)
ON, OFF = Said.ONLINE, Said.OFFLINE
NEWS, NONE = Recorded(1, frozenset()), Recorded(0, frozenset())


@pytest.fixture(scope="module")
async def whole_city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, DEVICES) as city:
        yield city


@pytest.fixture
async def city(whole_city: City) -> AsyncIterator[City]:
    yield whole_city
    await whole_city.owner.execute("TRUNCATE alatau.device_status, alatau.latest")


async def status(city: City) -> DeviceStatus | None:
    device = await find_device(city.api, "air-1")
    assert device is not None
    return device.status


@pytest.mark.parametrize(
    ("then", "now", "is_replayed", "is_news"),
    [
        (ON, OFF, False, True),
        (OFF, ON, False, True),
        (OFF, ON, True, True),
        (ON, ON, False, False),
        (ON, ON, True, False),
        (OFF, OFF, True, False),
        (OFF, OFF, False, True),  # it was there in between, and did not say so
    ],
)
async def test_what_is_said_again_keeps_its_time(
    city: City, then: Said, now: Said, is_replayed: bool, is_news: bool
) -> None:
    assert await record_statuses(city.ingest, [Heard("air-1", then, NOON)]) == NEWS
    later = NOON + 60 * SECOND
    recorded = await record_statuses(city.ingest, [Heard("air-1", now, later, is_replayed)])
    assert recorded == (NEWS if is_news else NONE)
    assert await status(city) == DeviceStatus(now, from_microseconds(later if is_news else NOON))


async def test_an_earlier_word_never_replaces_a_later_one(city: City) -> None:
    await record_statuses(city.ingest, [Heard("air-1", ON, NOON)])
    assert await record_statuses(city.ingest, [Heard("air-1", OFF, NOON - 1)]) == NONE
    assert await status(city) == DeviceStatus(ON, NOW)


async def test_of_several_words_the_last_counts_and_who_is_unknown_is_named(city: City) -> None:
    heard = [Heard("air-1", ON, NOON), Heard("ghost", ON, NOON), Heard("air-1", OFF, NOON + 1)]
    assert await record_statuses(city.ingest, heard) == Recorded(1, frozenset({"ghost"}))
    assert await status(city) == DeviceStatus(OFF, from_microseconds(NOON + 1))


@pytest.mark.parametrize("after", [-60 * SECOND, -1, 0, SECOND - 1, SECOND, 60 * SECOND])
@pytest.mark.parametrize("clock", [0, 120 * SECOND])
async def test_an_offline_counts_until_a_newer_reading_for_the_fleet_and_for_alerts(
    city: City, after: int, clock: int
) -> None:
    """The reading arrives ``after`` the word, by a clock that is right or ahead; the rule is the one of the stream."""
    arrived = NOON + after
    time, received = from_microseconds(arrived + clock), from_microseconds(arrived)
    await city.write("air_quality", [("air-1", time, {"pm2_5": 1.0})])
    await city.owner.execute("UPDATE alatau.latest SET received_at = $1", received)
    await record_statuses(city.ingest, [Heard("air-1", OFF, NOON)])
    gone = is_gone(NOON, min(arrived + clock, arrived))
    assert gone is (after < SECOND)
    counts = await count_fleet(city.api, Look(Selection()), NOW + dt.timedelta(minutes=1), Patience(3, 600))
    assert counts[State.SILENT if gone else State.REPORTING] == 1
    fleet = await read_fleet(city.owner, city.catalogue)
    assert fleet.offline.tolist() == [NOON if gone else 0]


async def test_a_device_that_never_sent_anything_is_that_whatever_it_says(city: City) -> None:
    await record_statuses(city.ingest, [Heard("air-1", OFF, NOON)])
    counts = await count_fleet(city.api, Look(Selection()), NOW, Patience(3, 60))
    assert counts[State.NEVER] == 2


async def test_a_look_brings_who_is_offline_and_later_ones_what_changed(city: City) -> None:
    hour = 3600 * SECOND
    await record_statuses(city.ingest, [Heard("air-1", OFF, NOON - hour), Heard("air-2", ON, NOON - hour)])

    async def changed(seen: object) -> list[tuple[str, Said]]:
        return [(one.device, one.said) for one in await statuses_since(city.api, seen, NOW)]  # type: ignore[arg-type]

    assert await changed(None) == [("air-1", OFF)]
    async with city.api.transaction(isolation="repeatable_read"):
        seen = await look(city.api)
    assert await changed(seen) == []
    await record_statuses(city.ingest, [Heard("air-2", OFF, NOON)])
    assert await changed(seen) == [("air-2", OFF)]


async def test_the_status_goes_with_its_device(city: City) -> None:
    await record_statuses(city.ingest, [Heard("air-2", ON, NOON)])
    transaction = city.owner.transaction()
    await transaction.start()
    try:
        assert await city.owner.fetchval("SELECT alatau.delete_device('air-2')")
        assert await city.owner.fetchval("SELECT count(*) FROM alatau.device_status") == 0
    finally:
        await transaction.rollback()
