"""``alatau asyncapi``: the document is valid, and says what the code does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import referencing
from hypothesis import given
from hypothesis import strategies as st
from mqtt5 import PublishPacket
from referencing.jsonschema import DRAFT7

from broker.config import BrokerOptions
from cli.asyncapi_document import Place, document
from cli.asyncapi_schemas import EXAMPLE_TIME, telemetry
from ingest.arrivals import Arrivals
from ingest.decode import Fault
from ingest.intake import Cut
from ingest.routes import Routes
from ingest.statuses import read_status
from sensors.catalogue import build_catalogue, builtin_file, parse_city_file
from sensors.checks import Reason, TimeWindow
from sensors.claims import decode_claim
from sensors.kinds import Kind
from sensors.times import SECOND
from sensors.topics import DEVICE_RECEIVES, DEVICE_SENDS, Channel, ClaimChannel, Topics
from tests.cli.command import PROJECT, Alatau
from tests.docs.markdown import blocks

TOPICS = Topics()
CITY = build_catalogue(builtin_file("alatau"), "alatau.toml")
PLACE = Place("mqtts://mqtt.city.example:8883", 8884, TOPICS, "docs/devices/contract.md")
DOCUMENT = document(CITY, PLACE)
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
REGISTRY: Any = referencing.Registry().with_resource("urn:contract", DRAFT7.create_resource(DOCUMENT))


def schema_of(name: str) -> jsonschema.Draft7Validator:
    """Return what holds a payload against a schema of the document, formats of times included."""
    return jsonschema.Draft7Validator(
        {"$ref": f"urn:contract#/components/schemas/{name}"},
        registry=REGISTRY,
        format_checker=jsonschema.FormatChecker(),
    )


def faults_of(payload: Any, kind: Kind) -> list[Fault]:
    """Return what ingest finds wrong with a payload at the time of the examples: decoded, and as rows."""
    routes = Routes(TOPICS)
    routes.set_catalogue(CITY)
    routes.add([(1, "a", kind.name, 60.0)])
    cut, now = Cut(routes, Arrivals()), EXAMPLE_TIME * SECOND
    cut.feed([PublishPacket("alatau/v1/a/telemetry", json.dumps(payload).encode())], now)
    cut.check(now, TimeWindow())
    return [fault for message in cut.faulty.values() for fault in message.faults]


def payloads(name: str) -> list[Any]:
    return [one["payload"] for one in MESSAGES[name]["examples"]]


def test_the_document_is_valid_by_the_official_schema_of_each_catalogue() -> None:
    official = jsonschema.Draft7Validator(json.loads((PROJECT / "tests/cli/asyncapi-3.0.0.json").read_text()))
    own = build_catalogue(parse_city_file(blocks("toml", "city-file")[0].text, "city.toml"), "city.toml")
    plain = Place("mqtt://[::1]", 8884, Topics("city/v2"), "https://docs.city.example/contract.html")
    for made in (DOCUMENT, document(own, plain)):
        assert [error.message for error in official.iter_errors(made)] == []
    broken = {**DOCUMENT, "channels": {"telemetry": {"adress": "misspelt"}}}
    assert not official.is_valid(broken), "the schema looks at what is inside, too"


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for member in part.values():
            yield from references(member)
    elif isinstance(part, list):
        for member in part:
            yield from references(member)


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        part: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
        assert part


def test_the_channels_are_those_that_the_broker_lets_a_device_use() -> None:
    channels = DOCUMENT["channels"]
    reserved = {Channel.COMMANDS, Channel.CONFIG}
    assert {channel["address"] for channel in channels.values()} == {
        *(TOPICS.of("{device}", channel) for channel in {*DEVICE_SENDS, *DEVICE_RECEIVES} - reserved),
        *(TOPICS.of("{account}", channel) for channel in ClaimChannel),
    }
    for operation in DOCUMENT["operations"].values():
        name = operation["channel"]["$ref"].rpartition("/")[2]
        is_sent = name in {*DEVICE_SENDS, ClaimChannel.CLAIM}
        assert operation["action"] == ("send" if is_sent else "receive")
        assert operation["bindings"]["mqtt"]["retain"] is (name == "status")


def test_the_brokers_limit_is_the_one_that_is_said(tmp_path: Any) -> None:
    options = BrokerOptions(1883, tmp_path, tmp_path / "plugin.so")
    for server in DOCUMENT["servers"].values():
        assert server["bindings"]["mqtt"]["maximumPacketSize"] == options.max_packet_bytes


@pytest.mark.parametrize("kind", CITY.kinds, ids=lambda kind: kind.name)
def test_every_example_of_telemetry_is_valid_and_is_stored_whole(kind: Kind) -> None:
    examples = payloads(telemetry(kind))
    assert len(examples) == 3
    for payload in examples:
        assert [error.message for error in schema_of(telemetry(kind)).iter_errors(payload)] == []
        assert faults_of(payload, kind) == []


def test_every_example_of_a_status_and_of_a_claim_is_read() -> None:
    said = [read_status("alatau/v1/lamp-17/status", one.encode(), TOPICS) for one in payloads("status")]
    assert [one for one in said if isinstance(one, Fault)] == []
    assert [decode_claim(json.dumps(one).encode()).id for one in payloads("claim")] == ["lamp-17"]


@pytest.mark.parametrize("name", [name for name in MESSAGES if "." not in name])
def test_every_example_of_an_answer_is_valid(name: str) -> None:
    for payload in payloads(name):
        assert [error.message for error in schema_of(name).iter_errors(payload)] == []


def test_answers_of_the_contract_are_valid_too() -> None:
    """Those of its page, in their order."""
    shown = [block for block in blocks("json") if block.document == "docs/devices/contract.md"]
    for block, name in zip(shown, ("receipt", "refusal", "claim", "claimed", "claimed"), strict=True):
        assert [error.message for error in schema_of(name).iter_errors(json.loads(block.text))] == []


AIR, LIGHT = CITY.kind_of["air_quality"], CITY.kind_of["street_light"]
SCHEMAS = {kind.name: schema_of(telemetry(kind)) for kind in (AIR, LIGHT)}
values = st.one_of(
    st.none(), st.booleans(), st.integers(-50, 50), st.floats(-1e5, 1e5), st.text(max_size=2), st.just({})
)
kinds = st.sampled_from([AIR, LIGHT])


@st.composite
def sent(draw: st.DrawFn) -> tuple[Kind, Any]:
    kind = draw(kinds)
    names = st.sampled_from([*kind.columns, "colour"])
    metrics = st.dictionaries(names, values, min_size=1, max_size=3)
    one = metrics.map(lambda flat: {**flat, "ts": EXAMPLE_TIME})
    nested = metrics.map(lambda inner: {"ts": EXAMPLE_TIME, "values": inner})
    return kind, draw(st.one_of(one, nested, st.lists(one, min_size=1, max_size=2)))


@given(sent())
def test_the_schema_takes_what_ingest_takes_and_nothing_else(case: tuple[Kind, Any]) -> None:
    kind, payload = case
    # That a reading has any value at all is no matter of the schema: to say nothing is refused, and costs nothing.
    wrong = {fault.reason for fault in faults_of(payload, kind)} - {Reason.NO_METRICS}
    assert SCHEMAS[kind.name].is_valid(payload) == (not wrong)


def test_the_command_prints_the_document_of_the_place_that_it_is_told() -> None:
    page = "https://docs.city.example/contract.html"
    settings = {
        "ALATAU_MQTT_PUBLIC_URL": "mqtts://mqtt.city.example",
        "ALATAU_TOPIC_ROOT": "city/v2",
        "ALATAU_DOCS_URL": page,
    }
    result = Alatau(settings)("asyncapi")
    assert result.code == 0, result.errors
    made = json.loads(result.out)
    assert {server["host"] for server in made["servers"].values()} == {
        "mqtt.city.example:8883",
        "mqtt.city.example:8884",
    }
    assert made["channels"]["telemetry"]["address"] == "city/v2/{device}/telemetry"
    (refusal,) = made["components"]["messages"]["refusal"]["examples"]
    assert refusal["payload"]["link"] == f"{page}#unknown_metric"


def test_a_city_file_that_is_none_says_so(tmp_path: Any) -> None:
    result = Alatau({})("asyncapi", "--catalog", str(tmp_path / "nowhere.toml"))
    assert result.code == 1
    assert "nowhere.toml" in result.errors
