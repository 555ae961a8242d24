"""Each page of docs/devices begins with what is pasted and ends in a reading; what can run here is run as it stands."""

from __future__ import annotations

import ast
import asyncio
import functools
import json
import pathlib
import re
import shlex
import tomllib
from collections.abc import Mapping

import pytest
import yaml

from broker.accounts import Service
from broker.secrets import generate_secret
from ingest.decoders.parsed import Incoming
from ingest.decoders.table import format_of
from ingest.mapping import Compiled
from sensors.catalogue import Catalogue
from sensors.profiles import builtin_profiles
from sensors.statuses import Said
from sensors.topics import Channel, Topics
from stack.servers import Servers
from storage.database import DATABASE, OWNER_ROLE
from tests.docs.conftest import Documented
from tests.docs.gateways import by_gateways, heard, paste_around
from tests.docs.markdown import Block, blocks, read
from tests.docs.pages import HEAD_LINES, LONGEST_PAGE, asked, lay_out, pages, paste, pasted

_AT_ONCE = 3


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.name)
def test_a_page_begins_with_what_is_pasted_and_ends_in_a_reading(page: pathlib.Path) -> None:
    lines = page.read_text().splitlines()
    # That of HTTP is its contract as well.
    assert len(lines) <= LONGEST_PAGE or page.name == "http.md"
    head = lines[:HEAD_LINES]
    begin = next(number for number, line in enumerate(head) if line.startswith("```sh "))
    block = head[begin + 1 : head.index("```")]
    assert block[0] == ". .alatau/env"
    assert any("$ALATAU_API_URL/api/v1/latest?device=" in line for line in block)


def test_every_page_is_in_the_index() -> None:
    index = read("docs/devices/README.md")
    assert [page.name for page in pages() if f"]({page.name})" not in index] == []


@pytest.mark.parametrize("block", blocks("python", "boot"), ids=str)
def test_a_program_of_a_board_is_parsed(block: Block) -> None:
    ast.parse(block.text)


class _Firmware(yaml.SafeLoader):
    """ESPHome's YAML, whose secrets stand in another file."""


_Firmware.add_constructor("!secret", lambda loader, node: f"secret {node.value}")


@pytest.mark.parametrize("block", blocks("yaml", "esphome"), ids=str)
def test_the_configuration_of_esphome_says_what_a_device_may(block: Block, catalogue: Catalogue) -> None:
    said = yaml.load(block.text, _Firmware)  # noqa: S506 - derived from the safe one
    mqtt, device = said["mqtt"], said["esphome"]["name"]
    assert mqtt["client_id"] == mqtt["username"] == device
    status = {"topic": Topics().of(device, Channel.STATUS), "qos": 1, "retain": True}
    assert mqtt["birth_message"] == {**status, "payload": Said.ONLINE}
    assert mqtt["will_message"] == {**status, "payload": Said.OFFLINE}
    (publish,) = said["interval"][0]["then"][0]["if"]["then"]
    reading = publish["mqtt.publish_json"]
    assert (reading["topic"], reading["qos"]) == (Topics().of(device, Channel.TELEMETRY), 1)
    members = re.findall(r'root\["(\w+)"\]', reading["payload"])
    assert set(members) - {"ts"} <= set(catalogue.kind_of["air_quality"].columns)


@pytest.mark.parametrize("block", by_gateways(), ids=str)
def test_a_gateway_sends_what_its_page_claims(block: Block, catalogue: Catalogue) -> None:
    source, reading = heard(block)
    assert reading.source == source
    weather = catalogue.kind_of["weather"]
    mapped = Compiled(weather).map(reading)
    assert mapped.row is not None
    assert mapped.row[1 + weather.index["temperature"]] == -3.5
    assert not mapped.faults


def test_telegraf_publishes_as_the_device_of_its_topic() -> None:
    (block,) = blocks("toml", "telegraf")
    said = tomllib.loads(block.text.replace("${ALATAU_DEVICE_ID}", "air-7"))
    (output,) = said["outputs"]["mqtt"]
    topic = output["topic"].replace("{{ .PluginName }}", "air")
    assert output["client_id"] == output["username"] == "air-7"
    assert (output["qos"], output["data_format"]) == (1, "influx")
    (source,) = said["inputs"]["exec"]
    line = shlex.split(source["commands"][0])[1]
    assert _decoded(topic, line.encode()) == (
        "influx",
        "air-7",
        {"air.temperature": 21.5, "air.humidity": 41},
    )
    assert said["agent"]["omit_hostname"] is True


def test_collectd_publishes_as_the_device_of_its_topic() -> None:
    (block,) = blocks("text", "collectd")
    said = {
        name: value.strip('"') for name, value in re.findall(r"^ *(\w+) (\S+)$", block.text, re.MULTILINE)
    }
    assert said["ClientId"] == said["User"] == said["Hostname"]
    (put,) = re.findall(r"PUTVAL (\S+) interval=\d+ (\S+)'", block.text)
    topic = f"{said['Prefix']}/{put[0]}"
    assert _decoded(topic, f"{put[1]}\0".encode()) == (
        "collectd",
        said["Hostname"],
        {"air.temperature": 21.5},
    )


def test_tasmota_publishes_as_the_device_of_its_topic() -> None:
    (block,) = blocks("text", "tasmota")
    said = dict(re.findall(r"(?:Backlog|;) (\w+) ([^;\n]+)", block.text))
    assert said["MqttClient"] == said["Topic"] == said["MqttUser"]
    message = b'{"BME280": {"Temperature": 21.5}, "TempUnit": "C"}'
    assert _decoded(f"tele/{said['Topic']}/SENSOR", message) == (
        "tasmota",
        said["MqttClient"],
        {"BME280.Temperature": 21.5},
    )


def test_shelly_publishes_as_the_device_of_its_topic_and_its_profile_maps_it(catalogue: Catalogue) -> None:
    ((settings,), (notified,)) = blocks("json", "shelly"), blocks("json", "notified")
    said = json.loads(settings.text)["config"]
    assert said["client_id"] == said["topic_prefix"] == said["user"]
    (profile,) = [one for one in builtin_profiles() if one.name == "shelly-electricity"]
    topic = f"{said['topic_prefix']}/events/rpc"
    found = format_of(topic)
    assert found is not None
    one, levels = found
    (reading,) = one.decode(Incoming(topic, levels, notified.text.encode(), 1_767_225_600.0), None).readings
    assert (one.name, reading.source) == (profile.format, said["client_id"])
    electricity = catalogue.kind_of["electricity"]
    row = Compiled(electricity, profile).map(reading).row
    assert row is not None
    stored = {name: row[1 + electricity.index[name]] for name in ("power", "voltage", "current", "energy")}
    assert stored == pytest.approx({"power": 0.0413, "voltage": 229.4, "current": 0.18, "energy": 12.345})


def _decoded(topic: str, payload: bytes) -> tuple[str, str, dict[str, float]]:
    found = format_of(topic)
    assert found is not None
    one, levels = found
    (reading,) = one.decode(Incoming(topic, levels, payload, 1_767_225_600.0), one.memory()).readings
    return one.name, reading.source, reading.values


def _run() -> list[Block]:
    """Return what is run: of gateways one, because commands take a second each."""
    return [*pasted(), *(block for block in by_gateways() if "chirpstack" in block.document)]


@pytest.fixture(scope="module")
async def printed(
    city: Documented, api_url: str, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, str]:
    """What the blocks printed, a few of them run at a time: each in a folder, and as a sample device, of its own."""
    secrets, stack = city.stack.secrets, city.stack
    settings = {
        **city.environment,
        "ALATAU_API_URL": api_url,
        "ALATAU_DATA_DIR": str(pathlib.Path(stack.postgres.data_dir).parent),
        "ALATAU_DATABASE_URL": stack.database_url(OWNER_ROLE, DATABASE),
        "ALATAU_BROKER_ADMIN_PASSWORD": secrets.services[Service.ADMIN],
    }
    all_blocks = {f"sample-{number}": block for number, block in enumerate(_run())}
    samples = {sample: generate_secret() for sample in all_blocks}
    await city.add_samples(samples)
    seats = asyncio.Semaphore(_AT_ONCE)

    async def run(sample: str, block: Block) -> str:
        own = {"ALATAU_DEVICE_ID": sample, "ALATAU_DEVICE_SECRET": samples[sample]}
        directory = tmp_path_factory.mktemp("page")
        environment = lay_out(directory, servers, settings | own, asked(block, sample))
        run = functools.partial(paste, directory=directory, environment=environment)
        async with seats:
            if block in pasted():
                return await run(block.text)
            return await paste_around(block, run, stack.ports.mqtt, city.owner)

    found = await asyncio.gather(*(run(*one) for one in all_blocks.items()))
    return {str(block): one for block, one in zip(all_blocks.values(), found, strict=True)}


@pytest.mark.parametrize("block", _run(), ids=str)
def test_what_is_pasted_ends_with_its_reading(block: Block, printed: Mapping[str, str]) -> None:
    answers = [line for line in printed[str(block)].splitlines() if line.startswith('{"devices":')]
    assert answers, printed[str(block)]
    (device,) = json.loads(answers[-1])["devices"]
    assert device["values"]
    assert device["age_seconds"] < 60
