"""The search for anomalies on a real database: rollups of three weeks in, findings out."""

from __future__ import annotations

import copy
import itertools
from collections.abc import AsyncIterator

import asyncpg
import numpy as np
import numpy.typing as npt
import pytest

from alerts.anomaly_findings import Names
from alerts.arrivals import Usual
from alerts.finding import Finding, NotYetError
from alerts.memory import BUCKET, Bucket
from alerts.options import AlertOptions
from alerts.quality_search import QualitySearch
from alerts.service import Alerts
from alerts.watch import Watch
from sensors.catalogue import Catalogue
from sensors.checks import Reason
from sensors.kinds import DeviceSpec, Kind
from sensors.readings import ReadingBatch
from sensors.times import DAY, SECOND, to_microseconds
from storage.alerts import AlertFilter, AlertState, list_alerts
from storage.anomaly_inputs import read_watched
from storage.copy import copy_stream, encode_readings, reading_columns
from storage.database import connect
from storage.dead_letters import DeadLetter, insert_letters
from storage.devices import register_devices
from storage.kinds import SCHEMA
from storage.latest import flush_latest
from storage.refresh import move_bound, refresh
from tests.api.answers import NOW
from tests.cities import City, open_city
from tests.conftest import Database

KIND, INTERVAL = "noise", 1800 * SECOND
NOON = to_microseconds(NOW) // DAY * DAY + 12 * 3600 * SECOND
SPECS = [DeviceSpec(f"noise-{n}", KIND, "gate", interval="PT30M") for n in range(6)]
STUCK, SILENT, LOUD = SPECS[1].id, SPECS[2].id, SPECS[3].id
FAULTY = 5 * 3600 * SECOND  # before noon, when things began to go wrong
# Two of another kind: one loses half of its readings since then, one sends what is refused.
OFTEN = [
    DeviceSpec(name, "waste_bin", "golden", interval="PT5M")
    for name in ("bin-lossy", "bin-refused", "bin-well-1", "bin-well-2")
]


def course(device: int, time: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return a level of noise with its day, its night and its own accidents, (n, 3)."""
    day = 8 * np.sin(2 * np.pi * (time % DAY) / DAY)
    accident = np.random.default_rng(device).normal(0, 0.4, (len(time), 3))
    values: npt.NDArray[np.float64] = 60 + device + day[:, None] + np.array([0, 9, -7]) + accident
    return values.round(1)


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    """Three weeks of six noise monitors, of which three went wrong this morning."""
    async with open_city(database, catalogue, [*SPECS, *OFTEN]) as opened:
        kind = catalogue.kind_of[KIND]
        for number, spec in enumerate(SPECS):
            time = np.arange(NOON - 22 * DAY, NOON, INTERVAL)
            values = course(number, time)
            faulty = time >= NOON - FAULTY
            if spec.id == STUCK:
                values[faulty, 0] = 63.3
            elif spec.id == LOUD:
                values[faulty] += 25
            elif spec.id == SILENT:
                time, values = time[~faulty], values[~faulty]
            await store(opened, kind, spec.id, time, values)
        await let_down(opened)
        for of_kind in (kind, catalogue.kind_of["waste_bin"]):
            await move_bound(opened.owner, [of_kind.name], catalogue.city.timezone, NOON)
            while not (await refresh(opened.owner, of_kind)).is_done:
                pass
        yield opened


async def let_down(city: City) -> None:
    """Store what the bins have sent: one loses every other reading, one sends more and more that is refused."""
    kind = city.catalogue.kind_of["waste_bin"]
    time = np.arange(NOON - 4 * DAY, NOON, 300 * SECOND)
    random = np.random.default_rng(1)
    for spec in OFTEN:
        sent = np.ones(len(time), bool)
        faulty = time >= NOON - FAULTY
        if spec in OFTEN[:2]:
            sent[faulty] = np.arange(faulty.sum()) % 2 == 0
        values = random.uniform(0.2, 0.8, (len(time), len(kind.columns))) * kind.maximum
        await store(city, kind, spec.id, time[sent], values[sent])
        if spec.id == "bin-refused":
            letters = [
                DeadLetter(at, f"v1/{spec.id}", b"{", Reason.UNDECODABLE, "cut off", city.number[spec.id])
                for at in time[~sent].tolist()
            ]
            await insert_letters(city.ingest, letters)


async def store(
    city: City, kind: Kind, device: str, time: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> None:
    """Store readings of one device, quickly."""
    of_device = np.full(len(time), city.number[device], np.int32)
    batch = ReadingBatch(kind, of_device, time, time + SECOND, values)
    await city.owner.copy_to_table(
        kind.name,
        schema_name=SCHEMA,
        columns=reading_columns(batch),
        source=copy_stream(encode_readings(batch)),
        format="binary",
    )
    await flush_latest(city.owner, [batch])


@pytest.fixture
async def connection(city: City) -> AsyncIterator[asyncpg.Connection]:
    """A connection with no more rights than the process has."""
    opened = await connect(city.database.alerts_url, application="test")
    yield opened
    await opened.close()


async def search(watch: Watch, connection: asyncpg.Connection, now: int = NOON) -> dict[str, Finding]:
    """Return what is found, as soon as anything can be said."""
    for _ in range(1000):
        try:
            return {one.fingerprint: one for one in await watch.find(connection, now)}
        except NotYetError:
            continue
    raise AssertionError("it never knew enough")


class Known:
    """A search that knows the city, and what it has found; ``ticks`` are how often it has looked at its clock."""

    def __init__(self) -> None:
        self.ticks = 0
        self.watch = Watch(monotonic=self._tick)
        self.found: dict[str, Finding] = {}

    def _tick(self) -> float:
        self.ticks += 1
        return 0.0

    def of(self, kind_of_rule: str) -> dict[str, Finding]:
        """Return what it has found of a kind."""
        return {name: one for name, one in self.found.items() if one.kind_of_rule == kind_of_rule}


@pytest.fixture(scope="module")
async def known(city: City) -> Known:
    """One search for all tests that only look."""
    known = Known()
    opened = await connect(city.database.alerts_url, application="test")
    known.found = await search(known.watch, opened)
    await opened.close()
    return known


async def test_each_fault_is_found_once_with_what_is_usual_since_when_and_what_neighbours_show(
    known: Known,
) -> None:
    found = known.of("anomaly")
    assert set(found) == {f"anomaly/stuck/{STUCK}", f"anomaly/silence/{SILENT}", f"anomaly/departure/{LOUD}"}
    loud = found[f"anomaly/departure/{LOUD}"]
    assert (loud.device, loud.kind, loud.district, loud.kind_of_rule) == (LOUD, KIND, "gate", "anomaly")
    assert loud.low is not None
    assert loud.high is not None
    assert loud.value is not None
    assert loud.low < loud.high < loud.value
    assert loud.value == pytest.approx(course(3, np.array([NOON]))[0, 0] + 25, abs=12)
    assert NOON - FAULTY <= loud.since <= NOON - FAULTY + 3600 * SECOND
    # The one that is stuck is so in one metric alone.
    assert loud.evidence["neighbours"] == {"count": 4, "unusual": int(loud.metric == "laeq")}
    assert sorted([loud.metric or "", *loud.evidence["also"]]) == ["la90", "laeq", "lamax"]  # type: ignore[misc]
    stuck = found[f"anomaly/stuck/{STUCK}"]
    assert stuck.metric == "laeq"
    assert stuck.value == pytest.approx(63.3)
    assert stuck.sentence.startswith(
        f"Equivalent noise level of {STUCK} has been exactly 63.3 dB since 12:00, for 5 hours. Usual is "
    )
    silent = found[f"anomaly/silence/{SILENT}"]
    assert silent.since == NOON - FAULTY - INTERVAL
    assert "has sent nothing since 11:30, for 5 hours." in silent.sentence


async def test_learning_goes_in_pieces_and_nothing_is_said_before_it_is_done(
    known: Known, connection: asyncpg.Connection
) -> None:
    ticks = itertools.count()
    watch = Watch(budget=0.5, monotonic=lambda: float(next(ticks)))
    with pytest.raises(NotYetError):
        await watch.find(connection, NOON)
    assert await search(watch, connection) == known.found, "one that was started again does not find the same"


async def test_a_pass_searches_once_also_when_nothing_can_be_said(
    city: City, connection: asyncpg.Connection
) -> None:
    ticks = itertools.count()
    first, second, _ = Watch(budget=0.5, monotonic=lambda: float(next(ticks))).finds().values()
    with pytest.raises(NotYetError):
        await first(connection, NOON)
    used = next(ticks)
    with pytest.raises(NotYetError):
        await second(connection, NOON)
    assert next(ticks) == used + 1, "it has learned again"


async def test_nothing_is_said_while_the_first_rollups_are_being_made(city: City) -> None:
    undone = city.owner.transaction()
    await undone.start()
    try:
        await city.owner.execute(
            "UPDATE alatau.rollup_progress SET clean_to = '-infinity' WHERE kind = $1", KIND
        )
        with pytest.raises(NotYetError, match="rollups"):
            await Watch().find(city.owner, NOON)
    finally:
        await undone.rollback()


async def test_what_arrives_less_and_what_is_refused_is_found_with_how_much_it_was_before(
    known: Known,
) -> None:
    quality = known.of("quality")
    assert set(quality) == {"quality/device/bin-lossy", "quality/device/bin-refused"}
    lossy, refused = (quality[name] for name in sorted(quality))
    assert (lossy.device, lossy.kind, lossy.district, lossy.metric) == (
        "bin-lossy",
        "waste_bin",
        "golden",
        None,
    )
    assert lossy.evidence["pattern"] == "completeness"
    assert lossy.evidence["share"] == pytest.approx(0.5, abs=0.05)
    assert lossy.evidence["usual"] == pytest.approx(1)
    assert lossy.evidence["neighbours"] == {"count": 2, "unusual": 0}
    assert abs(lossy.since - (NOON - FAULTY)) <= 900 * SECOND
    assert lossy.sentence.startswith("bin-lossy delivers 5")
    hours = lossy.evidence["hours"]
    assert isinstance(hours, list)
    assert (hours[:19], hours[19:]) == ([1.0] * 19, [0.5] * 4), "of whole hours"
    assert refused.evidence["pattern"] == "refused"
    assert refused.evidence["reasons"] == {"undecodable": 30}
    assert refused.sentence.startswith(
        "Of what bin-refused sends 51 % is refused since 12:05, 0 % in the weeks before. Mostly: Can't be read."
    )


async def test_what_has_come_meanwhile_was_late_and_not_lost(
    connection: asyncpg.Connection, catalogue: Catalogue
) -> None:
    kind = catalogue.kind_of["waste_bin"]
    watched = (await read_watched(connection)).only({kind.name})
    count = len(watched.id)
    names = Names(watched.id, (kind,) * count, watched.district, kind.metrics[:1] * count)
    quality = QualitySearch()
    quality.arrange(watched)
    usual = Usual(np.ones(count), np.full(count, 0.02), np.full(count, 1000))
    quality.learned(usual, np.arange(count))
    nothing = np.zeros(count, np.float32)
    for start in range(NOON - FAULTY, NOON, BUCKET):
        came = np.full(count, start // BUCKET % 2)
        bucket = Bucket(start, came, nothing, nothing, nothing, nothing, nothing.astype(float), came)
        quality.step(bucket, np.zeros(count, int))
    silent = np.zeros(count, bool)
    assert len(await quality.changes(connection, watched, names, silent)) == 1, "all at once"
    await quality.count_again(connection, watched, names, NOON)
    found = await quality.changes(connection, watched, names, silent)
    assert {(one.device, one.unusual) for one in found} == {("bin-lossy", 1), ("bin-refused", 1)}


async def test_devices_that_come_go_and_move_change_nothing_for_the_others(
    city: City, known: Known, catalogue: Catalogue
) -> None:
    own = copy.deepcopy(known)
    watch, before = own.watch, own.found
    assert f"anomaly/departure/{LOUD}" in before
    times = iter((NOON, NOON + BUCKET + SECOND))
    service = Alerts(AlertOptions(""), finds=watch.finds(), clock=lambda: next(times))
    undone = city.owner.transaction()
    await undone.start()
    try:
        await service.once(city.owner)
        await register_devices(city.owner, [DeviceSpec("noise-0b", KIND, "golden")], catalogue)
        await city.owner.execute("UPDATE alatau.device SET disabled_at = $2 WHERE id = $1", SILENT, NOW)
        await city.owner.execute("UPDATE alatau.device SET district = 'golden' WHERE id = $1", SPECS[0].id)
        del before[f"anomaly/silence/{SILENT}"]
        # Five minutes in which nothing comes: what is unusual is told by what was learned, not by what was found.
        await city.owner.execute(
            "UPDATE alatau.rollup_progress SET clean_to = clean_to + interval '5 minutes'"
        )
        used = own.ticks
        after = {one.fingerprint: one for one in await watch.find(city.owner, NOON + BUCKET)}
        assert set(after) == set(before)
        assert own.ticks == used + 2, "it has learned again"
        await service.once(city.owner)
        assert service.readiness() == (True, "watching")
        firing = await list_alerts(city.owner, AlertFilter(states=(AlertState.FIRING,)))
        assert {one.device for one in firing} >= {one.device for one in before.values()}
    finally:
        await undone.rollback()


async def test_a_kind_that_is_new_silences_no_other(city: City, known: Known, catalogue: Catalogue) -> None:
    watch = copy.deepcopy(known.watch)
    undone = city.owner.transaction()
    await undone.start()
    try:
        await register_devices(city.owner, [DeviceSpec("river-1", "river_level", "gate")], catalogue)
        assert await search(watch, city.owner) == known.found
        await city.owner.execute(
            "INSERT INTO alatau.rollup_progress (kind, zone, logged_to) VALUES ('river_level', 'UTC', now())"
        )
        assert await search(watch, city.owner) == known.found
    finally:
        await undone.rollback()
