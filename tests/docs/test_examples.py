"""The documentation's examples do what it says: payloads, city files, commands, requests, programs."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import re
import shlex
import sys
import urllib.parse
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest
import typer.main

from api.app import create_app
from api.options import ApiOptions
from broker.accounts import Service
from cli.city import SAMPLE_DEVICE
from cli.main import command_line
from ingest.decode import take_apart
from sensors.catalogue import Catalogue, build_catalogue, builtin_file, parse_city_file
from sensors.checks import Reason
from stack.servers import Servers
from storage.database import DATABASE, OWNER_ROLE
from tests.docs.conftest import Documented
from tests.docs.markdown import Block, blocks, commands, words

# -- payloads and city files -----------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks("json", "accepted"), ids=str)
def test_an_accepted_payload_decodes_without_a_fault(block: Block, catalogue: Catalogue) -> None:
    decoded = take_apart(block.text.encode(), catalogue.kind_of[block.info[2]])
    assert decoded.faults == []
    assert decoded.rows


@pytest.mark.parametrize("block", blocks("json", "refused"), ids=str)
def test_a_refused_payload_has_the_reason_it_is_an_example_of(block: Block, catalogue: Catalogue) -> None:
    reason, kind = Reason(block.info[2]), catalogue.kind_of[block.info[3]]
    faults = {fault.reason for fault in take_apart(block.text.encode(), kind).faults}
    # That no metric has a value is found when the rows are checked.
    assert faults == {reason} or (faults, reason) == (set(), Reason.NO_METRICS)


def test_there_are_examples_of_payloads() -> None:
    assert blocks("json", "accepted")
    assert blocks("json", "refused")


def test_city_files_in_toml_and_yaml_say_the_same() -> None:
    toml, yaml = (blocks(language, "city-file")[0] for language in ("toml", "yaml"))
    assert parse_city_file(toml.text, "city.toml") == parse_city_file(yaml.text, "city.yaml")


@pytest.mark.parametrize("block", [*blocks("toml", "city-file"), *blocks("yaml", "city-file")], ids=str)
def test_a_city_file_describes_a_whole_city_and_can_be_added_to_alatau(block: Block) -> None:
    file = parse_city_file(block.text, f"city.{block.info[0]}")
    city = build_catalogue(file, "city")
    assert set(city.district_of) == {"downtown", "medeu"}
    assert "nh3" in city.kind_of["air_quality"].index
    both = build_catalogue(file, "city", build_catalogue(builtin_file("alatau"), "alatau.toml"))
    assert "ski_lift" in both.kind_of
    assert "gate" in both.district_of


# -- commands ---------------------------------------------------------------------------------------

SHELL = [(block, command) for block in blocks("sh") for command in commands(block)]
_OURS = {"./alatau": 1, "docker": words("docker compose run --rm migrate alatau").index("alatau") + 1}
ALATAU = [
    (command, given[_OURS[given[0]] :])
    for _, command in SHELL
    if (given := words(command)) and given[0] in _OURS and {"./alatau", "alatau"} & set(given)
]


@pytest.mark.parametrize(("command", "arguments"), ALATAU, ids=[command for command, _ in ALATAU])
def test_a_command_exists_with_its_options(command: str, arguments: Sequence[str]) -> None:
    current: Any = typer.main.get_command(command_line())
    context = current.context_class(current, info_name="alatau")
    rest = list(arguments)
    while rest and hasattr(current, "resolve_command"):
        name, found, rest = current.resolve_command(context, rest)
        assert found is not None
        current, context = found, found.context_class(found, parent=context, info_name=name)
    current.parse_args(context, rest)


def _option(arguments: Sequence[str], *names: str) -> list[str]:
    return [value for name, value in itertools.pairwise(arguments) if name in names]


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Any:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _request(command: str, environment: dict[str, str]) -> httpx2.Request:
    """Return the request that a curl line would send."""
    with _environment(environment):
        arguments = shlex.split(os.path.expandvars(command))
    headers = dict(header.split(": ", 1) for header in _option(arguments, "-H"))
    body = _option(arguments, "-d")
    (url,) = [word for word in arguments if word.startswith("http")]
    (method,) = _option(arguments, "-X") or ["POST" if body else "GET"]
    return httpx2.Request(method, url, headers=headers, content=body[0].encode() if body else None)


# Devices ask ingest; everybody else the API.
# Those of the port for devices are not the API's.
CURL = [
    command
    for _, command in SHELL
    if command.startswith("curl") and "/ingest/v1/" not in command and ":8092/" not in command
]
_PLACES = {"ALATAU_API_URL": "http://api", "ALATAU_API_KEY": "key", "ALATAU_DEVICE_ID": SAMPLE_DEVICE}


@pytest.mark.parametrize("command", CURL)
def test_a_request_is_of_a_described_path_with_its_parameters(command: str) -> None:
    request = _request(command, _PLACES)
    description = create_app(ApiOptions("postgresql://nowhere")).openapi()["paths"]
    path = urllib.parse.urlsplit(str(request.url)).path
    (operations,) = [
        operations
        for template, operations in description.items()
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
    ]
    known = {one["name"] for one in operations[request.method.lower()].get("parameters", ())}
    assert set(request.url.params) <= known


# -- the same, on a running city ---------------------------------------------------------------------

RUN = [(block, command) for block in blocks("sh", "run") for command in commands(block)]


def _of(program: str) -> list[tuple[Block, str]]:
    return [(block, command) for block, command in RUN if command.startswith(program)]


@pytest.mark.parametrize(("block", "command"), _of("mosquitto_pub"), ids=str)
async def test_a_reading_of_the_shell_is_stored(
    block: Block, command: str, city: Documented, servers: Servers
) -> None:
    before = await city.count()
    await city.run("sh", "-c", command, path=str(servers.mosquitto_pub.parent))
    await city.until_more_than(before)


@pytest.mark.parametrize("block", blocks("sh", "http"), ids=str)
async def test_a_reading_of_curl_is_stored_when_it_is_answered(block: Block, city: Documented) -> None:
    before = await city.count()
    for command in commands(block):
        if "/ingest/v1/" in command:
            assert "HTTP/1.1 204 No Content" in await city.run("sh", "-c", command)
    assert await city.count() > before


@pytest.mark.parametrize("block", blocks("python", "run"), ids=str)
async def test_a_reading_of_python_is_stored(block: Block, city: Documented) -> None:
    before = await city.count()
    assert await city.run(sys.executable, "-c", block.text) == ""
    await city.until_more_than(before)


@pytest.mark.parametrize("block", blocks("python", "claim"), ids=str)
async def test_a_device_of_python_registers_itself(
    block: Block, city: Documented, api: httpx2.AsyncClient, tmp_path: pathlib.Path
) -> None:
    batch = {
        "name": "documented",
        "kind": "street_light",
        "district": "golden",
        "count": 1,
        "lifetime": "P1D",
    }
    headers = {"X-API-Key": city.environment["ALATAU_API_KEY"]}
    made = await api.post("/api/v1/batches", json=batch, headers=headers)
    settings = {"BATCH": "documented", "TOKEN": made.json()["token"], "STORE": str(tmp_path / "own.json")}
    city.environment.update(settings)
    try:
        for _ in range(2):  # a device that was claimed is let in, also when its batch is over
            assert await city.run(sys.executable, "-c", block.text) == "registered\n"
    finally:
        for name in settings:
            del city.environment[name]
    (found,) = [
        one
        for one in (await api.get("/api/v1/batches", headers=headers)).json()["batches"]
        if one["name"] == "documented"
    ]
    assert found["used"] == 1


@pytest.mark.parametrize("block", dict.fromkeys(block for block, _ in _of("curl")), ids=str)
async def test_requests_are_answered(block: Block, city: Documented, api: httpx2.AsyncClient) -> None:
    """One after the other: a block may delete what it has made."""
    for command in commands(block):
        if command.startswith("curl"):
            answer = await api.send(_request(command, city.environment))
            said = answer.headers.get("content-type", "")  # what is deleted answers with nothing
            assert (said == "application/problem+json") == ("problem" in block.info), answer.text
            if said.startswith("application/json"):
                assert json.loads(answer.content)


async def test_commands_of_administration_do_their_work(city: Documented) -> None:
    """One after the other, as a reader would."""
    settings = {
        "ALATAU_DATA_DIR": str(pathlib.Path(city.stack.postgres.data_dir).parent),
        "ALATAU_DATABASE_URL": city.stack.database_url(OWNER_ROLE, DATABASE),
        "ALATAU_BROKER_ADMIN_PASSWORD": city.stack.secrets.services[Service.ADMIN],
    }
    city.environment.update(settings)
    try:
        for _, command in _of("./alatau"):
            printed = await city.run(sys.executable, "-P", "-m", "cli", *shlex.split(command)[1:])
            assert printed
    finally:
        for name in settings:
            del city.environment[name]


def test_every_block_that_is_run_has_something_that_is_run() -> None:
    runners = ("mosquitto_pub", "curl", "./alatau", "source")
    assert [command for _, command in RUN if not command.startswith(runners)] == []
