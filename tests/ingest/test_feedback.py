"""What a device is told of a refusal: where, what was found, what is valid, and never too much of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mqtt5 import PublishPacket

from cli.ingest import ingest_options
from cli.settings import Settings
from ingest.arrivals import Arrivals
from ingest.decode import LARGEST_NUMBER, Explanation, Fault
from ingest.feedback import MOST_BYTES, Feedback, told
from ingest.hints import HINTS
from ingest.intake import Cut
from ingest.messages import no_topic, unregistered
from ingest.routes import Routes
from ingest.statuses import read_status
from sensors.catalogue import build_catalogue, builtin_file
from sensors.checks import Reason, TimeWindow
from sensors.times import SECOND, parse_timestamp
from sensors.topics import Topics
from tests.docs.markdown import read

TOPICS = Topics()
NOW = parse_timestamp("2026-11-22T10:00:00Z")
TS = NOW // SECOND


def faults_of(document: Any) -> list[Fault]:
    """Return what is wrong with a payload of an air sensor: when it is decoded, and as a row."""
    routes = Routes(TOPICS)
    routes.set_catalogue(build_catalogue(builtin_file("alatau"), "alatau.toml"))
    routes.add([(1, "air-1", "air_quality", 60.0)])
    cut = Cut(routes, Arrivals())
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    cut.feed([PublishPacket("alatau/v1/air-1/telemetry", payload)], NOW)
    cut.check(NOW, TimeWindow())
    return [fault for message in cut.faulty.values() for fault in message.faults]


def message_of(fault: Fault, detail: str = "") -> dict[str, Any]:
    message: dict[str, Any] = json.loads(told(fault, detail or fault.detail, NOW, 0))
    return message


def at(document: Any, path: str) -> Any:
    """Return what a JSON Pointer points at, None where nothing is."""
    for step in path.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document.get(name)
    return document


NUMBER = f"a whole number from 1 to {LARGEST_NUMBER}"
TIME = "Unix seconds, milliseconds or 2026-01-01T00:00:00Z"
WINDOW = "2025-10-18T10:00:00Z to 2026-11-22T10:05:00Z"
EXAMPLE = '{"pm1": 0}'
METRICS = "pm1, pm2_5, pm10, no2, so2, o3, co, co2, temperature, humidity"
REFUSED = [
    (b"nonsense", "undecodable", "", '"nonsense"', EXAMPLE),
    (7, "undecodable", "", "7", EXAMPLE),
    ([{"ts": TS, "pm2_5": 1}, "x"], "undecodable", "/1", '"x"', EXAMPLE),
    ([1] * 10_001, "too_large", "", "10001 readings", "at most 10000"),
    ([], "no_metrics", "", "an empty array", EXAMPLE),
    ({"pm2_5": None}, "no_metrics", "", "no value", EXAMPLE),
    ([{"ts": TS, "pm2_5": None}], "no_metrics", "/0", "no value", EXAMPLE),
    ({"pm2.5": 3}, "unknown_metric", "/pm2.5", '"pm2.5"', "pm2_5"),
    ({"values": {"pm2.5": 3}}, "unknown_metric", "/values/pm2.5", '"pm2.5"', "pm2_5"),
    (
        {"a/b~c": 3},
        "unknown_metric",
        "/a~1b~0c",
        '"a/b~c"',
        METRICS,
    ),
    ({"pm2_5": "83.4"}, "wrong_type", "/pm2_5", '"83.4"', "a number in ug/m3"),
    ({"values": 7}, "wrong_type", "/values", "7", "an object of metrics"),
    ({"pm2_5": -999}, "out_of_range", "/pm2_5", "-999", "0 to 2000 ug/m3"),
    ({"values": {"pm2_5": -999}}, "out_of_range", "/values/pm2_5", "-999", "0 to 2000 ug/m3"),
    ({"pm2_5": 1e300}, "out_of_range", "/pm2_5", "1e+300", "0 to 2000 ug/m3"),
    ([{"ts": TS, "pm2_5": 1}, {"ts": TS, "pm2_5": -5}], "out_of_range", "/1/pm2_5", "-5", "0 to 2000 ug/m3"),
    ({"ts": 1, "pm2_5": 3}, "time_too_old", "/ts", "1970-01-01T00:00:01Z", WINDOW),
    (
        {"ts": "2037-01-01T05:00:00+05:00", "pm2_5": 3},
        "time_in_future",
        "/ts",
        "2037-01-01T00:00:00Z",
        WINDOW,
    ),
    ([{"ts": 1e300, "pm2_5": 3}], "time_unreadable", "/0/ts", "1.0000000000000001e+300", TIME),
    ([{"ts": 9.95e10, "pm2_5": 3}], "time_in_future", "/0/ts", "5107-03-10T08:00:00Z", WINDOW),
    ({"ts": "yesterday", "pm2_5": 3}, "time_unreadable", "/ts", '"yesterday"', TIME),
    ([{"ts": TS, "pm2_5": 1}, {"pm2_5": 3}], "time_unreadable", "/1/ts", "nothing", TIME),
    ({"seq": "17", "pm2_5": 3}, "bad_sequence", "/seq", '"17"', NUMBER),
    ({"oldest": 1, "pm2_5": 3}, "bad_sequence", "/seq", "nothing", NUMBER),
    ({"seq": 17, "oldest": 18, "pm2_5": 3}, "bad_sequence", "/oldest", "18", "at most 17"),
]


@pytest.mark.parametrize(("document", "reason", "path", "found", "valid"), REFUSED)
def test_a_refusal_says_where_what_was_found_and_what_is_valid(
    document: Any, reason: str, path: str, found: str, valid: str
) -> None:
    message = message_of(faults_of(document)[0])
    assert (message["reason"], message["path"]) == (reason, path)
    assert (message["found"], message["valid"]) == (found, valid)
    assert (message["hint"], message["link"]) == (HINTS[Reason(reason)], f"docs/devices/contract.md#{reason}")


def test_what_is_wrong_elsewhere_than_in_the_payload_has_no_path() -> None:
    topic, device = (
        no_topic("alatau/v1/a b/telemetry", "alatau/v1/<device>/telemetry"),
        unregistered("lamp-1"),
    )
    assert [message_of(one)["path"] for one in (topic, device)] == [None, None]
    assert [message_of(one)["found"] for one in (topic, device)] == ["alatau/v1/a b/telemetry", "lamp-1"]


def test_a_status_that_is_none_is_the_whole_payload() -> None:
    fault = read_status("alatau/v1/lamp-1/status", b"asleep", TOPICS)
    assert isinstance(fault, Fault)
    message = message_of(fault)
    assert (message["path"], message["found"], message["valid"]) == ("", '"asleep"', "online or offline")


names = st.sampled_from(["pm2_5", "pm10", "temperature", "pm2.5", "a/b", "~"])
values = st.one_of(st.integers(-9999, 9999), st.text(max_size=3), st.none(), st.booleans())
flat = st.dictionaries(names, values, max_size=4)
single = st.one_of(flat, flat.map(lambda metrics: {"ts": TS, "values": metrics}))
several = st.lists(flat.map(lambda metrics: {**metrics, "ts": TS}), min_size=1, max_size=3)


@given(st.one_of(single, several))
def test_the_path_points_at_what_was_found(document: Any) -> None:
    """Of every fault, not only the first."""
    for fault in faults_of(document):
        message = message_of(fault)
        there = at(document, message["path"])
        if fault.reason is Reason.UNKNOWN_METRIC:
            assert message["path"].endswith(
                json.loads(message["found"]).replace("~", "~0").replace("/", "~1")
            )
        elif fault.reason is Reason.WRONG_TYPE:
            assert json.loads(message["found"]) == there
        elif fault.reason is Reason.OUT_OF_RANGE:
            assert f"{there:g}" == message["found"]
        else:
            assert fault.reason is Reason.NO_METRICS
            assert not [one for one in at(there, "").values() if isinstance(one, int) and one != TS]


texts = st.text(max_size=400)


@given(st.sampled_from(Reason), texts, st.one_of(st.none(), texts), st.one_of(st.none(), texts), texts)
@example(Reason.REFUSED_BY_DATABASE, "\x00" * 3000, "/" + "\x00" * 15, "\x00" * 300, "\x00" * 300)
@example(Reason.BAD_SEQUENCE, "я" * 3000, "/" + "я" * 55, "\ud800" * 300, "\U0001f321" * 300)
def test_a_message_is_bounded_whatever_was_sent(
    reason: Reason, detail: str, path: str | None, found: str | None, valid: str | None
) -> None:
    payload = told(Fault(reason, Explanation(detail, path, found, valid)), detail, NOW, 10**9, "x" * 100)
    assert len(payload) <= MOST_BYTES
    message = json.loads(payload)
    said = message["detail"]
    assert detail.encode(errors="replace").decode().startswith(said.removesuffix("…"))
    assert len(said) >= min(len(detail), 20)
    assert message["path"] in (path, None)


def test_the_bytes_are_as_the_documentation_has_them() -> None:
    (fault,) = faults_of({"pm2.5": 83.4, "temperature": -3.1})
    feedback = Feedback(docs="docs/devices/contract.md")
    payload = feedback.refuse("air-1", fault, fault.detail, NOW, NOW)
    assert payload is not None
    assert payload.decode() in read("docs/devices/contract.md")
    assert feedback.refuse("air-1", fault, fault.detail, NOW, NOW + 9 * SECOND) is None
    again = feedback.refuse("air-1", fault, fault.detail, NOW, NOW + 10 * SECOND)
    assert again is not None
    assert json.loads(again)["withheld"] == 1


def test_refused_devices_are_pointed_at_the_page_of_the_settings() -> None:
    page = "https://docs.city.example/contract.html"
    settings = Settings(
        database_url="postgresql://nowhere/city", mqtt_url="mqtt://nowhere", mqtt_password="x", docs_url=page
    )
    docs = ingest_options(settings, 0).docs
    (fault,) = faults_of(b"nonsense")
    assert json.loads(told(fault, fault.detail, NOW, 0, docs))["link"] == f"{page}#undecodable"
    assert json.loads(told(fault, fault.detail, NOW, 0, "x" * 200))["link"] is None, "a part leads nowhere"


def test_every_reason_has_a_short_hint_and_nothing_else_has_one() -> None:
    assert set(HINTS) == set(Reason)
    assert [hint for hint in HINTS.values() if not 0 < len(hint) <= 90] == []
