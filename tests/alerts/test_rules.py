"""Each kind of rule on stored readings: what it finds, what it says, and what it leaves alone."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from alerts.evaluate import Evaluated, Evaluator
from alerts.finding import Finding
from alerts.scene import Scene
from alerts.service import builtin_rules
from alerts.speech import Speech
from alerts.states import by_fingerprint
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.rules import Rule, RuleKind, check_rule
from sensors.statuses import Said
from sensors.times import SECOND, to_microseconds
from storage.alert_inputs import read_fleet
from storage.alert_rules import Origin, StoredRule, Window
from storage.alert_states import ActiveAlert
from storage.alerts import AlertState, Severity
from storage.database import connect
from storage.device_status import Heard, record_statuses
from storage.refresh import move_bound, refresh
from tests.alerts.making import MINUTE, NOON
from tests.api.answers import NOW
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

DEVICES = (
    *(DeviceSpec(f"air-{n}", "air_quality", "gate", interval="PT5M") for n in range(1, 5)),
    DeviceSpec("air-5", "air_quality", "golden", interval="PT5M"),
    *(DeviceSpec(f"noise-{n}", "noise", "growing") for n in range(1, 7)),
    DeviceSpec("meter-1", "electricity", "green"),
    DeviceSpec("new-1", "noise", "gate"),  # has never sent
    DeviceSpec("off-1", "noise", "gate"),  # is disabled
)
# The newest PM2.5 of each station, µg/m³.
NEWEST = {"air-1": 163.2, "air-2": 130.0, "air-3": 20.0, "air-4": 10.0, "air-5": 40.0}
Spec = dict[str, Any]


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, DEVICES) as city:
        await city.write("air_quality", [row for name in NEWEST for row in course_of(name)])
        ages = {
            "noise-1": 1,
            "noise-2": 2,
            "noise-3": 40,
            "noise-4": 1,
            "noise-5": 1,
            "noise-6": 1,
            "off-1": 90,
        }
        await city.write("noise", [(name, ago(minutes), {"laeq": 60.0}) for name, minutes in ages.items()])
        await city.write(
            "electricity", [("meter-1", ago(2), {"power": 9.0, "current": 30.0, "voltage": 300.0})]
        )
        await city.owner.execute("UPDATE alatau.device SET disabled_at = now() WHERE id = 'off-1'")
        await move_bound(city.owner, ["air_quality"], "Asia/Almaty", NOON)
        while not (await refresh(city.owner, city.catalogue.kind_of["air_quality"])).is_done:
            pass
        yield city


def ago(minutes: float) -> dt.datetime:
    return NOW - dt.timedelta(minutes=minutes)


def course_of(name: str) -> list[tuple[str, dt.datetime, dict[str, float]]]:
    """Return a day of a station: in its last hour it is what it is now; the temperature of one of them stands still."""
    newest = NEWEST[name]
    return [
        (
            name,
            ago(minutes),
            {
                "pm2_5": newest if minutes < 60 else newest / 2 + minutes % 7 / 10,
                "temperature": 4.5 if name == "air-4" and minutes < 400 else minutes % 11 / 10,
            },
        )
        for minutes in range(2, 1440, 5)
    ]


@pytest.fixture(scope="module")
async def reader(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the role that the process has."""
    connection = await connect(database.alerts_url, application="test")
    yield connection
    await connection.close()


def rule(of: RuleKind, /, *, enabled: bool = True, name: str = "r", **definition: Any) -> Rule:
    return Rule(name, of, definition, enabled=enabled)


def known(*fingerprints: str) -> list[ActiveAlert]:
    began = NOON - 90 * MINUTE
    made = ActiveAlert(
        id=1, fingerprint="", rule="r", kind_of_rule="threshold", severity=Severity.WARNING,
        state=AlertState.FIRING, sentence="", value=None, since=began, said_at=began, gone_since=None,
        clear=0, ended=0,
    )  # fmt: skip
    return [dataclasses.replace(made, fingerprint=fingerprint) for fingerprint in fingerprints]


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluation:
    city: City
    reader: asyncpg.Connection

    async def all(
        self, *rules: Rule, active: list[ActiveAlert] | None = None, windows: list[Window] | None = None,
        now: int = NOON,
    ) -> Evaluated:  # fmt: skip
        fleet = await read_fleet(self.reader, self.city.catalogue)
        scene = Scene(now, self.city.catalogue, fleet, by_fingerprint(active or []))
        stored = [StoredRule(one, Origin.API, NOW, NOW) for one in rules]
        return await Evaluator().evaluate(self.reader, stored, windows or [], scene)

    async def of(self, one: Rule, **more: Any) -> dict[str, Finding]:
        """Return what a rule finds, by what it is about."""
        evaluated = await self.all(one, **more)
        assert not evaluated.blind
        return {found.fingerprint.partition("/")[2]: found for found in evaluated.findings}


@pytest.fixture(scope="module")
def evaluation(city: City, reader: asyncpg.Connection) -> Evaluation:
    return Evaluation(city, reader)


HIGH: Spec = {"metric": "pm2_5", "above": 150, "clear": 120}


async def test_a_threshold_is_crossed_and_said_with_value_limit_and_time(evaluation: Evaluation) -> None:
    found = await evaluation.of(rule(RuleKind.THRESHOLD, **HIGH, lasting="PT5M", clear_after="PT1M"))
    (one,) = found.values()
    assert one.sentence == "PM2.5 of air-1 is 163.2 µg/m³, above the limit of 150.0 µg/m³, since 16:58."
    assert one.message is not None
    english = Speech(NOON, ZoneInfo("Asia/Almaty"), evaluation.city.catalogue)
    assert english.say(one.message["title"]) == one.title == "PM2.5 above 150.0 µg/m³: air-1"
    assert english.say(*one.message["sentence"]) == one.sentence
    assert (one.device, one.kind, one.district) == ("air-1", "air_quality", "gate")
    assert (one.value, one.low, one.high, one.since) == (163.2, None, 150, NOON - 2 * MINUTE)
    assert (one.hold, one.clear, one.begins) == (5 * MINUTE, MINUTE, True)


async def test_between_its_two_limits_a_threshold_keeps_what_there_is(evaluation: Evaluation) -> None:
    found = await evaluation.of(rule(RuleKind.THRESHOLD, **HIGH), active=known("r/air-2", "r/air-3"))
    assert {name: one.begins for name, one in found.items()} == {"air-1": True, "air-2": False}
    assert found["air-2"].since == NOON - 90 * MINUTE


async def test_below_is_the_mirror_of_above(evaluation: Evaluation) -> None:
    low = rule(RuleKind.THRESHOLD, metric="pm2_5", below=15, clear=30)
    found = await evaluation.of(low, active=known("r/air-3"))
    assert {name: one.begins for name, one in found.items()} == {"air-4": True, "air-3": False}


async def test_an_old_value_raises_nothing_and_ends_nothing_for_a_day(evaluation: Evaluation) -> None:
    later = NOON + 60 * MINUTE
    high = rule(RuleKind.THRESHOLD, **HIGH)
    assert await evaluation.of(high, now=later) == {}
    kept = await evaluation.of(high, now=later, active=known("r/air-1"))
    assert [one.begins for one in kept.values()] == [False]
    assert await evaluation.of(high, now=NOON + 1500 * MINUTE, active=known("r/air-1")) == {}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"districts": ["golden"]}, {"air-5"}),
        ({"devices": ["air-3", "air-4"]}, {"air-3", "air-4"}),
        ({"kind": "air_quality", "districts": ["gate"], "devices": ["air-1"]}, {"air-1"}),
    ],
)
async def test_a_rule_is_about_what_it_names(evaluation: Evaluation, where: Spec, expected: set[str]) -> None:
    assert set(await evaluation.of(rule(RuleKind.THRESHOLD, metric="pm2_5", above=1, **where))) == expected


async def test_what_rises_too_fast_is_found_and_what_falls_is_not(evaluation: Evaluation) -> None:
    found = await evaluation.of(rule(RuleKind.RATE, metric="pm2_5", within="PT70M", rise=60))
    assert set(found) == {"air-1", "air-2"}
    assert "has risen by 81." in found["air-1"].sentence
    assert "within 70 minutes, to 163.2 µg/m³; the limit is 60.0 µg/m³" in found["air-1"].sentence
    assert await evaluation.of(rule(RuleKind.RATE, metric="pm2_5", within="PT70M", fall=60)) == {}


async def test_silence_is_by_each_devices_own_interval(evaluation: Evaluation) -> None:
    found = await evaluation.of(rule(RuleKind.SILENCE))
    assert set(found) == {"noise-3"}  # not new-1, which has never sent, nor off-1, which is disabled
    assert found["noise-3"].sentence == (
        "noise-3 has sent nothing since 16:20, for 40 minutes. A reading is expected every 1 minute."
    )
    assert found["noise-3"].since == NOON - 40 * MINUTE


async def test_a_last_will_is_silence_without_waiting_for_intervals(
    city: City, evaluation: Evaluation
) -> None:
    heard = [
        Heard("noise-1", Said.OFFLINE, NOON - 40 * SECOND),
        Heard("noise-2", Said.OFFLINE, NOON - 5 * MINUTE),
    ]
    await record_statuses(city.ingest, heard)
    try:
        assert set(await evaluation.of(rule(RuleKind.SILENCE))) == {"noise-3"}
        soon = rule(RuleKind.SILENCE, offline_for="PT30S", lasting="PT1M")
        found = await evaluation.of(soon)
        assert set(found) == {"noise-1", "noise-3"}, "noise-2 has sent something since"
        one = found["noise-1"]
        assert one.title == "Offline: noise-1"
        assert one.sentence == (
            "noise-1 went offline at 16:59, said by its last will or by itself. noise-1 has sent nothing since "
            "16:59, for 1 minute. A reading is expected every 1 minute."
        )
        assert (one.since, one.begins) == (NOON - 40 * SECOND, True)
        assert one.evidence["offline_since"] == "2026-01-15T11:59:20+00:00"
        # What has begun goes on while the device only comes to go again, and is as old as it was.
        slow = rule(RuleKind.SILENCE, offline_for="PT2M")
        again = await evaluation.of(slow, active=known("r/noise-1"))
        assert again["noise-1"].since == NOON - 90 * MINUTE
        crowd = await evaluation.of(rule(RuleKind.SILENCE, kinds=["noise"]), now=NOON + 30 * MINUTE)
        assert "since 16:59. Offline by their last wills: 1. One cause" in crowd["city"].sentence
    finally:
        await city.owner.execute("TRUNCATE alatau.device_status")


async def test_of_a_crowd_that_is_silent_one_thing_is_said(evaluation: Evaluation) -> None:
    silent = rule(RuleKind.SILENCE, kinds=["noise"])
    found = await evaluation.of(silent, now=NOON + 30 * MINUTE, active=known("r/noise-3"))
    assert {name: one.begins for name, one in found.items()} == {"city": True, "noise-3": False}
    assert found["city"].sentence.startswith(
        "6 of 6 devices of the whole city have sent nothing since 16:59."
    )


async def test_what_stands_still_is_found(evaluation: Evaluation) -> None:
    still = rule(RuleKind.FROZEN, metric="temperature", unchanged="PT6H")
    (one,) = (await evaluation.of(still)).values()
    assert one.sentence == "Air temperature of air-4 has been exactly 4.5 °C since 11:03, for 5 hours."
    assert await evaluation.of(rule(RuleKind.FROZEN, metric="temperature", ignore=[4.5])) == {}
    assert await evaluation.of(rule(RuleKind.FROZEN, metric="temperature", unchanged="PT8H")) == {}


async def test_minutes_above_a_limit_are_counted(evaluation: Evaluation) -> None:
    found = await evaluation.of(rule(RuleKind.EXCEEDANCE, metric="pm2_5", above=100, minutes=50))
    assert set(found) == {"air-1", "air-2"}
    assert "was above 100.0 µg/m³ for 60 minutes of the last 1 day, more than the 50 that" in (
        found["air-1"].sentence
    )
    assert await evaluation.of(rule(RuleKind.EXCEEDANCE, metric="pm2_5", above=100, minutes=60)) == {}


async def test_a_mean_is_held_against_its_limit_by_device_and_by_district(evaluation: Evaluation) -> None:
    of_devices = rule(RuleKind.EXCEEDANCE, metric="pm2_5", above=60)
    assert set(await evaluation.of(of_devices)) == {"air-1", "air-2"}
    found = await evaluation.of(
        rule(RuleKind.EXCEEDANCE, metric="pm2_5", above=25, per="district", source="a law")
    )
    assert set(found) == {"gate/air_quality"}
    one = found["gate/air_quality"]
    assert "over 1 day is 42." in one.sentence
    assert (
        "over 4 devices, above the limit of 25.0 µg/m³, since 17:00. The limit is that of: a law."
        in one.sentence
    )
    assert (one.device, one.district, one.kind) == (None, "gate", "air_quality")


async def test_a_mean_needs_three_quarters_of_its_time(evaluation: Evaluation) -> None:
    long = rule(RuleKind.EXCEEDANCE, metric="pm2_5", above=1, within="P2D")
    assert await evaluation.of(long) == {}


async def test_one_metric_is_held_against_another(evaluation: Evaluation) -> None:
    weak: Spec = {"metric": "power", "to": "current", "below": 0.5}
    (one,) = (await evaluation.of(rule(RuleKind.RATIO, **weak))).values()
    assert one.sentence.startswith("Power of meter-1 is 0.3 times its Current, below the limit of 0.5,")
    assert await evaluation.of(rule(RuleKind.RATIO, **weak, at_least=31)) == {}


async def test_districts_are_taken_together(evaluation: Evaluation) -> None:
    together: Spec = {"metric": "pm2_5", "above": 80, "of": "avg"}
    (one,) = (await evaluation.of(rule(RuleKind.AGGREGATE, **together))).values()
    assert "is 80.8 µg/m³, over 4 devices, above the limit of 80.0 µg/m³" in one.sentence
    assert set(await evaluation.of(rule(RuleKind.AGGREGATE, **together, at_least=5))) == set()
    of_city = rule(RuleKind.AGGREGATE, metric="pm2_5", above=39, of="median", per="city")
    assert set(await evaluation.of(of_city)) == {"city/air_quality"}


@pytest.mark.parametrize(
    ("schedule", "begins"),
    [
        ({"days": ["thu"], "from": "08:00", "to": "18:00"}, True),  # NOW is Thursday, 17:00 in the city
        ({"days": ["thu"], "from": "08:00", "to": "17:00"}, False),
        ({"days": ["thu"], "from": "08:00", "to": "17:00", "timezone": "UTC"}, True),
        ({"days": ["fri"]}, False),
        ({"days": ["thu"], "from": "16:00", "to": "06:00"}, True),
        ({"days": ["wed"], "from": "22:00", "to": "18:00"}, True),  # the night of Wednesday lasts until then
    ],
)
async def test_out_of_its_schedule_a_rule_raises_nothing(
    evaluation: Evaluation, schedule: Spec, begins: bool
) -> None:
    (one,) = (await evaluation.of(rule(RuleKind.THRESHOLD, **HIGH, schedule=schedule))).values()
    assert one.begins is begins


@pytest.mark.parametrize(
    ("place", "begins"),
    [
        ({}, False),
        ({"device": "air-1"}, False),
        ({"device": "air-2"}, True),
        ({"district": "gate", "kind": "air_quality"}, False),
        ({"district": "gate", "kind": "noise"}, True),
        ({"starts": ago(120), "ends": NOW}, True),
    ],
)
async def test_what_is_maintained_raises_nothing(evaluation: Evaluation, place: Spec, begins: bool) -> None:
    everything: Spec = {"starts": ago(1), "ends": ago(-1), "device": None, "district": None, "kind": None}
    window = Window(id=1, reason="", created_by="", **(everything | place))
    (one,) = (await evaluation.of(rule(RuleKind.THRESHOLD, **HIGH), windows=[window])).values()
    assert one.begins is begins


async def test_a_rule_that_is_wrong_is_named_and_hinders_no_other(evaluation: Evaluation) -> None:
    wrong = rule(RuleKind.THRESHOLD, name="wrong", metric="pm99", above=1)
    off = rule(RuleKind.THRESHOLD, name="off", enabled=False, metric="pm2_5", above=1)
    evaluated = await evaluation.all(wrong, off, rule(RuleKind.THRESHOLD, **HIGH))
    assert evaluated.blind == {"wrong"}
    assert [found.device for found in evaluated.findings] == ["air-1"]


async def test_buckets_are_looked_at_when_there_is_another(evaluation: Evaluation) -> None:
    mean = StoredRule(rule(RuleKind.EXCEEDANCE, metric="pm2_5", above=60), Origin.API, NOW, NOW)
    fleet = await read_fleet(evaluation.reader, evaluation.city.catalogue)
    empty = dataclasses.replace(fleet, device=fleet.device[:0], number=fleet.number[:0], kind=fleet.kind[:0])
    evaluator = Evaluator()
    for seconds, seen, count in ((0, fleet, 2), (299, empty, 2), (300, empty, 0)):
        scene = Scene(NOON + seconds * 1_000_000, evaluation.city.catalogue, seen, {})
        found = await evaluator.evaluate(evaluation.reader, [mean], [], scene)
        assert (len(found.findings), found.blind) == (count, set()), seconds


def test_what_comes_with_us_is_right(catalogue: Catalogue) -> None:
    rules = builtin_rules()
    assert {"pm2_5-day", "pm10-day", "no2-day", "so2-day", "co-day", "o3-8h"} <= {one.name for one in rules}
    for one in rules:
        check_rule(one, catalogue)
        assert one.definition["source"], one.name


def test_noon_is_a_thursday() -> None:
    assert f"{NOW:%a %H}" == "Thu 12"
    assert to_microseconds(NOW) == NOON
