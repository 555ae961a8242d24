"""Messages of other formats in a cut: whose source is whose, and what is nobody's."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from mqtt5 import PublishPacket

from ingest.arrivals import Arrivals
from ingest.decoders.parsed import Parsed
from ingest.decoders.table import FORMATS
from ingest.intake import Cut
from ingest.routes import Routes
from ingest.wire import Wire
from sensors.catalogue import Catalogue
from sensors.checks import Reason
from sensors.profiles import Field, Profile
from sensors.statuses import Said
from sensors.times import SECOND
from sensors.topics import Topics
from storage.lessons import Lesson
from storage.wire_sources import Bindings

NOW = 1_767_225_600 * SECOND
UPLINK = "application/a/device/24e124aa00000007/event/up"


@pytest.fixture
def routes(catalogue: Catalogue) -> Routes:
    routes = Routes(Topics(), Wire(FORMATS))
    routes.set_catalogue(catalogue)
    routes.add([(1, "air-7", "weather", 60.0), (2, "air-8", "weather", 60.0)])
    return routes


def cut_of(routes: Routes, *messages: tuple[str, Any], retain: bool = False) -> Cut:
    cut = Cut(routes, Arrivals())
    packets = [
        PublishPacket(topic, said if isinstance(said, bytes) else json.dumps(said).encode(), retain=retain)
        for topic, said in messages
    ]
    cut.feed(packets, NOW)
    cut.route_again()
    return cut


def stored(cut: Cut) -> list[tuple[str, float]]:
    """Return the device and the temperature of each row."""
    return [
        (route.device, row[1 + rows.kind.index["temperature"]])
        for rows in cut.kinds.values()
        for route, row in zip(rows.routes, rows.rows, strict=True)
    ]


def faults(cut: Cut) -> list[tuple[Reason, str]]:
    return [(fault.reason, fault.detail) for message in cut.faulty.values() for fault in message.faults]


def uplink(temperature: float) -> dict[str, Any]:
    return {
        "time": "2026-01-01T00:00:00Z",
        "deviceInfo": {"devEui": "24e124aa00000007"},
        "object": {"temperature": temperature},
    }


def test_a_device_speaks_for_itself_on_its_own_topic_without_being_claimed(routes: Routes) -> None:
    cut = cut_of(routes, ("senml/air-7", [{"n": "temperature", "u": "Cel", "v": -3.5}]))
    assert stored(cut) == [("air-7", -3.5)]
    assert not faults(cut)


@pytest.mark.parametrize("name", ["air-8", "urn:dev:ow:10e2073a01080063"])
def test_whom_a_device_names_on_its_own_topic_is_a_source_below_it(routes: Routes, name: str) -> None:
    line = f"weather,host={name} temperature=-3.5".encode()
    cut = cut_of(routes, ("telegraf/air-7", line), ("senml/air-7", [{"bn": f"{name}/", "n": "t", "v": 1}]))
    assert not [device for device, _ in stored(cut) if device == "air-8"], "nobody speaks for a stranger"
    assert {one.name for one in cut.foreign.sightings.seen()} >= {f"air-7/{name}"}


def test_a_name_below_a_device_is_claimed_as_any_other(routes: Routes) -> None:
    routes.wire.bind(Bindings({("influx", "air-7/roof"): ("air-8", None)}, {}))
    cut = cut_of(routes, ("telegraf/air-7", b"weather,host=roof temperature=-3.5"))
    assert stored(cut) == [("air-8", -3.5)]


def test_what_nobody_has_claimed_is_seen_and_refused_with_the_command_that_claims_it(routes: Routes) -> None:
    cut = cut_of(routes, (UPLINK, uplink(-3.5)), (UPLINK, uplink(-4)))
    ((reason, detail), _) = faults(cut)
    assert reason is Reason.UNCLAIMED
    assert "alatau source claim chirpstack" in detail
    (seen,) = cut.foreign.sightings.seen()
    assert (seen.name, seen.messages, seen.topics) == ("24e124aa00000007", 2, [UPLINK])
    assert seen.fields["temperature"] == (-4, None)


def test_what_is_claimed_is_stored_by_the_profile_that_is_called_after_format_and_kind(
    routes: Routes,
) -> None:
    profile = Profile(
        "chirpstack-weather",
        "",
        "chirpstack",
        "weather",
        (Field("temperature", "temperature", scale=0.1),),
    )
    sources = {("chirpstack", "24e124aa00000007"): ("air-8", None)}
    routes.wire.bind(Bindings(sources, {("chirpstack", "weather"): profile}))
    assert stored(cut_of(routes, (UPLINK, uplink(-35)))) == [("air-8", -3.5)]
    routes.wire.bind(Bindings(sources, {}))
    assert stored(cut_of(routes, (UPLINK, uplink(-3.5)))) == [("air-8", -3.5)]


def test_a_device_that_is_not_known_waits_for_the_next_look_and_is_nobodys_then(routes: Routes) -> None:
    cut = Cut(routes, Arrivals())
    cut.feed([PublishPacket("senml/air-9", b'[{"n":"temperature","v":1}]')], NOW)
    assert cut.unknown_devices() == ["air-9"]
    routes.add([(3, "air-9", "weather", 60.0)])
    cut.route_again()
    assert stored(cut) == [("air-9", 1)]
    unknown = cut_of(routes, ("senml/air-10", [{"n": "temperature", "v": 1}]))
    assert [reason for reason, _ in faults(unknown)] == [Reason.UNCLAIMED]


def test_what_is_refused_is_said_with_its_place_and_what_would_be_right(routes: Routes) -> None:
    cut = cut_of(routes, ("senml/air-7", [{"n": "temperature", "v": 1}, {"n": "humidity", "v": "x"}]))
    assert stored(cut) == [("air-7", 1)]
    ((reason, detail),) = faults(cut)
    assert reason is Reason.WRONG_TYPE
    assert "/1/v" in detail


@pytest.mark.parametrize("retain", [False, True])
def test_a_state_becomes_the_status_of_its_device(routes: Routes, *, retain: bool) -> None:
    cut = cut_of(routes, ("homie/5/air-7/$state", b"lost"), ("homie/5/else/$state", b"lost"), retain=retain)
    (heard,) = cut.foreign.heard
    assert heard == ("air-7", Said.OFFLINE, NOW, retain)
    assert not faults(cut)


async def test_what_a_birth_taught_an_earlier_run_is_known_again(
    routes: Routes, catalogue: Catalogue
) -> None:
    birth = bytes.fromhex(
        "0880d0eab6b733121b0a096169722f706d325f3510071880d0eab6b73320096500009441121b0a"
        "086169722f74656d7010081880d0eab6b733200350fdffffff0f1801"
    )
    data = bytes.fromhex(
        "08e0a4eeb6b733120e100718e0a4eeb6b733650000aa411211100818b0baecb6b733280150fcffffff0f1802"
    )
    first = cut_of(routes, ("spBv1.0/alatau/DBIRTH/gw1/air7", birth))
    assert first.foreign.lessons == [Lesson("spBv1.0/alatau/DBIRTH/gw1/air7", birth, NOW)]
    assert [reply.topic for reply in first.foreign.replies] == ["spBv1.0/alatau/NCMD/gw1"], (
        "the node is not born yet"
    )
    later = Routes(Topics(), Wire(FORMATS))
    later.set_catalogue(catalogue)
    without = cut_of(later, ("spBv1.0/alatau/DDATA/gw1/air7", data))
    assert [reason for reason, _ in faults(without)] == [Reason.NO_BIRTH]
    await later.wire.learn(first.foreign.lessons)
    again = cut_of(later, ("spBv1.0/alatau/DDATA/gw1/air7", data))
    assert {reason for reason, _ in faults(again)} == {Reason.UNCLAIMED}
    assert again.foreign.sightings.seen()[0].fields["air/pm2_5"] == (21.25, None)


def test_a_native_topic_is_of_no_format(routes: Routes) -> None:
    cut = cut_of(routes, ("alatau/v1/air-7/telemetry", {"temperature": 2}), ("elsewhere", {}))
    assert stored(cut) == [("air-7", 2)]
    assert [reason for reason, _ in faults(cut)] == [Reason.UNKNOWN_TOPIC]


def test_what_firmware_says_on_another_topic_than_its_measurements_is_no_fault_once_they_are_read(
    routes: Routes,
) -> None:
    state = ("tele/air-7/STATE", {"Time": "2026-01-01T05:00:00", "Wifi": {"RSSI": 70}})
    sensor = ("tele/air-7/SENSOR", {"Time": "2026-01-01T05:00:00", "BME280": {"Temperature": -3.5}})
    renamed = ("tele/air-7/SENSOR", {"Time": "2026-01-01T05:00:00", "BME280": {"Temp": -3.5}})
    assert [reason for reason, _ in faults(cut_of(routes, state))] == [Reason.NO_METRICS]
    assert stored(cut_of(routes, sensor)) == [("air-7", -3.5)]
    assert not faults(cut_of(routes, state))
    assert [reason for reason, _ in faults(cut_of(routes, renamed))] == [Reason.NO_METRICS]
    routes.wire.bind(Bindings({}, {}))
    assert faults(cut_of(routes, state)), "another profile may be of other fields"


def test_where_firmware_mixes_both_on_one_topic_many_in_a_row_without_a_metric_are_a_fault(
    routes: Routes,
) -> None:
    weather, machine = (("telegraf/air-7", line) for line in (b"weather temperature=-3.5", b"cpu usage=1"))
    assert stored(cut_of(routes, weather)) == [("air-7", -3.5)]
    cut = cut_of(routes, *[machine] * 19)
    assert (faults(cut), cut.foreign.left_out) == ([], 19)
    assert [reason for reason, _ in faults(cut_of(routes, machine))] == [Reason.NO_METRICS]
    assert stored(cut_of(routes, weather)) == [("air-7", -3.5)]
    assert not faults(cut_of(routes, machine))


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_row_can_have_is_not_noted(routes: Routes, name: str) -> None:
    topic, said = "v1/gateway/telemetry", {name: [{"ts": 1_767_225_600_000, "values": {"temperature": 1}}]}
    cut = cut_of(routes, (topic, said))
    assert not cut.foreign.sightings.seen()
    assert faults(cut)


def test_a_decoder_that_fails_costs_its_message_and_no_other(
    routes: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Parsed:
        raise ZeroDivisionError

    (senml,) = [one for one in FORMATS if one.name == "senml"]
    others = [one for one in FORMATS if one.name != "senml"]
    wire = Wire([dataclasses.replace(senml, decode=fail), *others])
    monkeypatch.setattr(routes, "wire", wire)
    cut = cut_of(routes, ("senml/air-7", []), ("telegraf/air-7", b"weather temperature=-3.5"))
    assert [reason for reason, _ in faults(cut)] == [Reason.UNDECODABLE]
    assert stored(cut) == [("air-7", -3.5)]
