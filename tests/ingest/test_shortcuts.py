"""The short way of messages that are laid out like earlier ones leads where the long way leads."""

from __future__ import annotations

import copy
import json
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mqtt5 import PublishPacket

from ingest import shortcuts
from ingest.arrivals import Arrivals
from ingest.decoders import chirpstack
from ingest.decoders.parsed import Incoming
from ingest.decoders.table import FORMATS
from ingest.intake import Cut
from ingest.routes import Routes
from ingest.wire import Wire
from sensors.catalogue import Catalogue
from sensors.profiles import Field, Profile
from sensors.times import SECOND
from sensors.topics import Topics
from storage.wire_sources import Bindings

NOW = 1_767_225_600 * SECOND
EUI, OTHER = "24e124aa00000007", "24e124aa00000008"
UPLINK = f"application/a/device/{EUI}/event/up"
PACK: list[dict[str, Any]] = [
    {"bt": 1_767_225_000, "n": "temperature", "u": "Cel", "v": -3.5},
    {"n": "humidity", "u": "%RH", "v": 41},
    {"n": "battery", "u": "V", "v": 3.1},
]
EVENT: dict[str, Any] = {
    "time": "2026-01-01T00:00:00.5Z",
    "deviceInfo": {"devEui": EUI},
    "fCnt": 7,
    "object": {"temperature": -3.5, "humidity": 41, "battery": 3.1, "state": "ok", "moved": False},
    "rxInfo": [{"rssi": -90, "snr": 7.25}],
    "txInfo": {"frequency": 868_100_000},
}
STACK = "v3/air@alatau/devices/air-7/up"
MESSAGE: dict[str, Any] = {
    "end_device_ids": {"dev_eui": EUI.upper()},
    "received_at": "2026-01-01T00:00:00.9Z",
    "uplink_message": {
        "f_cnt": 7,
        "decoded_payload": EVENT["object"],
        "rx_metadata": EVENT["rxInfo"],
        "settings": {"frequency": "868100000", "time": "2026-01-01T00:00:00.5Z"},
        "received_at": "2026-01-01T00:00:00.7Z",
    },
}
SAID = {"senml/air-7": PACK, UPLINK: EVENT, STACK: MESSAGE}
TOPICS = pytest.mark.parametrize("topic", SAID, ids=["senml", "chirpstack", "things_stack"])
# How a message came, which the short way does not look at.
UNREAD = {"rxInfo", "txInfo", "fCnt", "rx_metadata", "f_cnt", "frequency"}


def _routes(catalogue: Catalogue, *fields: Field) -> Routes:
    routes = Routes(Topics(), Wire(FORMATS))
    routes.set_catalogue(catalogue)
    routes.add([(1, "air-7", "weather", 60.0), (2, "air-8", "weather", 60.0)])
    profiles = [
        Profile(f"{one}-weather", "", one, "weather", fields)
        for one in ("senml", "chirpstack", "things_stack")
        if fields
    ]
    gateways = ("chirpstack", "things_stack")
    sources = {
        (one, eui): (device, None) for one in gateways for eui, device in ((EUI, "air-7"), (OTHER, "air-8"))
    }
    routes.wire.bind(Bindings(sources, {(one.format, "weather"): one for one in profiles}))
    return routes


def _cut(routes: Routes, topic: str, *said: Any, retain: bool = False) -> Cut:
    cut = Cut(routes, Arrivals())
    cut.feed([PublishPacket(topic, json.dumps(one).encode(), retain=retain) for one in said], NOW)
    cut.route_again()
    return cut


def _known(routes: Routes, topic: str, said: Any) -> bool:
    """Send a message until its topic is known, if it comes to be."""
    _cut(routes, topic, *[said] * 32)
    return routes.wire.shortcut(topic) is not None


def _devices(cut: Cut) -> list[str]:
    return [route.device for rows in cut.kinds.values() for route in rows.routes]


def _outcome(cut: Cut) -> str:
    rows = [
        (route.device, *row)
        for kind in cut.kinds.values()
        for route, row in zip(kind.routes, kind.rows, strict=True)
    ]
    return repr((rows, [(message.reason, message.detail) for message in cut.faulty.values()]))


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -0.0, 1.5, 1e300, 10**400, [], {}, -5, 2**28, 1e12]
) | st.sampled_from(
    [OTHER, EUI, "urn:dev:ow:1/", "air-7/", "Cel", "2026-01-01T00:00:00", "2025-01-01T00:00:00Z", "1", ""]
)
NAMES = st.sampled_from(
    [
        "temperature",
        "humidity",
        "battery",
        "n",
        "u",
        "v",
        "vs",
        "bn",
        "bt",
        "bu",
        "t",
        "bver",
        "simulated",
        "last_battery_percentage",
        "normalized_payload",
        "state",
        "moved",
        "x_",
        "wind.temperature",
    ]
)


@TOPICS
def test_a_topic_that_has_said_the_same_several_times_takes_it(catalogue: Catalogue, topic: str) -> None:
    routes = _routes(catalogue)
    _cut(routes, topic, *[SAID[topic]] * 7)
    assert routes.wire.shortcut(topic) is None
    assert _known(routes, topic, SAID[topic])


@TOPICS
def test_whatever_comes_then_leads_where_the_long_way_leads(catalogue: Catalogue, topic: str) -> None:
    routes = _routes(catalogue, Field("temperature", "temperature", scale=2.0), Field("humidity", "humidity"))

    @settings(max_examples=120, deadline=None)
    @given(_changed(topic), st.booleans())
    def each(said: Any, retain: bool) -> None:
        assert _known(routes, topic, SAID[topic])
        short = _outcome(_cut(routes, topic, said, retain=retain))
        routes.wire.unbind()
        assert short == _outcome(_cut(routes, topic, said, retain=retain))

    each()


@st.composite
def _changed(draw: st.DrawFn, topic: str) -> Any:
    said: Any = copy.deepcopy(SAID[topic])
    parts = _parts(said)
    for _ in range(draw(st.integers(1, 3))):
        part = draw(st.sampled_from(parts))
        name = draw(NAMES | st.sampled_from(sorted({"time", *part} - UNREAD)))
        part[name] = draw(VALUES)
        if draw(st.booleans()):
            del part[name]
    return said


def _parts(said: Any) -> list[Any]:
    """Return a message's objects, what the codec said first."""
    if isinstance(said, list):
        return said
    if uplink := said.get("uplink_message"):
        return [uplink["decoded_payload"], uplink, uplink["settings"], said, said["end_device_ids"]]
    return [said["object"], said, said["deviceInfo"]]


def _beside(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "rxInfo": []}


@pytest.mark.parametrize("change", [lambda event: event, _beside], ids=["heard", "heard by nobody"])
@pytest.mark.parametrize("field", ["radio.rssi", "radio.snr", "radio.f_cnt"])
def test_where_how_it_was_heard_is_a_metric_all_of_it_is_read(
    catalogue: Catalogue, field: str, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    routes = _routes(catalogue, Field("temperature", "temperature"), Field(field, "humidity"))
    assert not _known(routes, UPLINK, change(EVENT))


@TOPICS
def test_who_says_something_else_is_looked_at_anew(catalogue: Catalogue, topic: str) -> None:
    routes = _routes(catalogue)
    assert _known(routes, topic, SAID[topic])
    other: Any = copy.deepcopy(SAID[topic])
    if topic == "senml/air-7":
        other.append({"n": "wind_speed", "v": 3})
    else:
        _parts(other)[0]["wind_speed"] = 3
    assert not _cut(routes, topic, other).faulty
    assert routes.wire.shortcut(topic) is None
    assert _known(routes, topic, other)


def test_what_names_another_source_is_that_ones(catalogue: Catalogue) -> None:
    routes = _routes(catalogue)
    assert _known(routes, UPLINK, EVENT)
    assert _devices(_cut(routes, UPLINK, EVENT | {"deviceInfo": {"devEui": OTHER}})) == ["air-8"]
    assert _known(routes, "senml/air-7", PACK)
    other = [PACK[0] | {"bn": "urn:dev:mac:0024befffe804ff1/"}, *PACK[1:]]
    assert _devices(_cut(routes, "senml/air-7", other)) == []


@TOPICS
def test_when_devices_or_claims_change_it_is_forgotten(catalogue: Catalogue, topic: str) -> None:
    routes = _routes(catalogue)
    changes: list[Callable[[], None]] = [
        lambda: routes.add([(1, "air-7", "weather", 30.0)]),
        lambda: routes.set_catalogue(catalogue),
        lambda: routes.wire.bind(
            Bindings({(one, EUI): ("air-8", None) for one in ("chirpstack", "things_stack")}, {})
        ),
    ]
    for change in changes:
        assert _known(routes, topic, SAID[topic])
        change()
        assert routes.wire.shortcut(topic) is None
    assert _devices(_cut(routes, topic, SAID[topic])) == ["air-7" if topic == "senml/air-7" else "air-8"]


@given(
    st.dictionaries(st.text(max_size=6) | st.sampled_from(["None", "object", "radio.snr"]), st.floats(-9, 9))
)
def test_members_of_any_name_are_read_or_left_to_the_long_way(content: dict[str, float]) -> None:
    payload = json.dumps({"deviceInfo": {}, "object": content}).encode()
    incoming = Incoming(UPLINK, ("a", EUI, "up"), payload, NOW / SECOND)
    assert chirpstack.FORMAT.layout is not None
    layouts = [chirpstack.FORMAT.layout(incoming) for _ in range(4)]
    if (layout := layouts[-1]) is None:
        assert not content or re.search(r'["\\\x00-\x1f]', "".join(content)) or "radio.snr" in content
        return
    uplink = layout.decode(payload)
    assert {name: operator.attrgetter(place)(uplink) for name, place in layout.places.items()} == content


@pytest.mark.parametrize("bound", ["_MOST", "_MOST_PICKS"])
def test_what_is_remembered_of_ever_new_topics_and_layouts_is_bounded(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(shortcuts, bound, 3)
    routes = _routes(catalogue)
    routes.add([(number, f"new-{number}", "weather", 60.0) for number in range(9)])
    for number, name in enumerate(catalogue.kind_of["weather"].columns):
        _cut(routes, f"senml/new-{number}", *[[{"n": name, "v": 1}]] * 24)
    known = [number for number in range(9) if routes.wire.shortcut(f"senml/new-{number}")]
    assert 0 < len(known) <= 4, "and they are learnt again"


def test_what_has_no_time_gets_that_of_its_arrival(catalogue: Catalogue) -> None:
    routes, event = _routes(catalogue), {name: said for name, said in EVENT.items() if name != "time"}
    assert _known(routes, UPLINK, event)
    ((time, *_),) = next(iter(_cut(routes, UPLINK, event).kinds.values())).rows
    assert math.isnan(time)
