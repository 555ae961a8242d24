"""The documentation's examples do what it says: payloads, city files, commands, requests, programs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import urllib.parse
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import httpx2
import pytest
import typer.main

from api.app import create_app
from api.options import ApiOptions, ClaimOptions, ExportOptions
from broker.accounts import Service
from broker.secrets import hash_secret
from cli.city import SAMPLE_DEVICE
from cli.ingest import status_of
from cli.ingest_http import taking_http
from cli.local import LocalStack
from cli.main import command_line
from cli.status import status_server
from cli.transport import Transport
from ingest.decode import take_apart
from ingest.explaining import Explainer
from ingest.options import IngestOptions
from ingest.service import Ingest
from ingest.session import SessionOptions
from sensors.catalogue import Catalogue, build_catalogue, builtin_file, parse_city_file
from sensors.checks import Reason
from sensors.kinds import DeviceSpec
from stack.ports import free_port
from stack.servers import Servers
from storage.database import API_ROLE, DATABASE, INGEST_ROLE, OWNER_ROLE, connect
from storage.devices import Credential, register_devices
from tests.docs.markdown import PROJECT, Block, blocks, commands, words

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
CURL = [command for _, command in SHELL if command.startswith("curl") and "/ingest/v1/" not in command]
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


# -- a city that the examples run on ---------------------------------------------------------------


class Documented:
    """The city that the documentation speaks of: the sample device, a worker, an API."""

    def __init__(self, stack: LocalStack, owner: asyncpg.Connection, environment: dict[str, str]) -> None:
        self.stack = stack
        self.owner = owner
        self.environment = environment

    async def count(self) -> int:
        """Return how many readings of the sample device are stored."""
        rows = await self.owner.fetchval(
            "SELECT count(*) FROM reading.air_quality JOIN alatau.device USING (device_id) WHERE id = $1",
            SAMPLE_DEVICE,
        )
        return int(rows)

    async def until_more_than(self, before: int) -> None:
        """Wait until more readings are stored than before."""
        async with asyncio.timeout(15):
            while await self.count() <= before:  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.02)

    async def run(self, *command: str | pathlib.Path, path: str = "") -> str:
        """Run a program with the settings of ``up``, and return what it printed."""
        environment = {**os.environ, **self.environment, "PATH": f"{path}:{os.environ['PATH']}"}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        printed = (await process.communicate())[0].decode()
        assert process.returncode == 0, printed
        return printed


@pytest.fixture(scope="module")
async def city(local_stack: LocalStack) -> AsyncIterator[Documented]:
    owner = await connect(local_stack.owner_url, application="test")
    catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
    secret = local_stack.secrets.sample_device_secret
    hashed = hash_secret(secret)
    spec = DeviceSpec(SAMPLE_DEVICE, "air_quality", "gate")
    credential = Credential(hashed.salt, hashed.hash, hashed.iterations)
    await register_devices(owner, [spec], catalogue, {SAMPLE_DEVICE: credential})
    async with local_stack.admin as admin:
        await admin.add_device(SAMPLE_DEVICE, secret)
    session = SessionOptions(
        "127.0.0.1",
        local_stack.ports.mqtt,
        Service.INGEST,
        local_stack.secrets.services[Service.INGEST],
        "ingest-docs",
    )
    port, http_port = free_port(), free_port()
    options = IngestOptions(
        local_stack.database_url(INGEST_ROLE),
        session,
        share="docs",
        latest_interval_seconds=0.05,
    )
    ingest, stop = Ingest(options), asyncio.Event()
    run = taking_http(ingest, Transport("127.0.0.1", http_port, [], None))
    task = asyncio.create_task(run(stop), name="test.ingest")
    server = status_server(status_of(ingest), "127.0.0.1", port)
    status = asyncio.create_task(server.serve(), name="test.status")
    async with asyncio.timeout(15):
        while not ingest.readiness()[0]:  # noqa: ASYNC110 - readiness is a question, not an event
            await asyncio.sleep(0.02)
    environment = {
        "ALATAU_API_URL": "http://api",
        "ALATAU_API_KEY": local_stack.secrets.api_key,
        "ALATAU_MQTT_URL": local_stack.mqtt_url,
        "ALATAU_DEVICE_ID": SAMPLE_DEVICE,
        "ALATAU_DEVICE_SECRET": secret,
        "ALATAU_INGEST_PORT": str(port),
        "ALATAU_INGEST_HTTP_PORT": str(http_port),
    }
    yield Documented(local_stack, owner, environment)
    stop.set()
    server.should_exit = True
    await asyncio.gather(task, status)
    await owner.close()


@pytest.fixture(scope="module")
async def api(
    city: Documented, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx2.AsyncClient]:
    exports = ExportOptions(tmp_path_factory.mktemp("exports"))
    options = ApiOptions(
        city.stack.database_url(API_ROLE),
        exports=exports,
        claims=ClaimOptions(city.stack.mqtt_url, Service.CLAIMS, city.stack.secrets.services[Service.CLAIMS]),
    )
    app = create_app(options, accounts=city.stack.admin, reader=Explainer(options.topics))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://api") as client,
    ):
        yield client


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
        if not command.startswith("source"):
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


@pytest.mark.parametrize(("block", "command"), _of("curl"), ids=str)
async def test_a_request_is_answered(
    block: Block, command: str, city: Documented, api: httpx2.AsyncClient
) -> None:
    answer = await api.send(_request(command, city.environment))
    problem = answer.headers["content-type"] == "application/problem+json"
    assert problem == ("problem" in block.info), answer.text
    if answer.headers["content-type"].startswith("application/json"):
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
