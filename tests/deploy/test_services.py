"""The services of ``docker-compose.yml``, each by its own command and environment, on bare servers.

What stays untested without Docker is the images themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator

import pytest

from cli.probes import answers_ok
from stack.accounts import server_account
from stack.mosquitto import MosquittoServer
from stack.ownership import claim
from stack.ports import free_port
from stack.postgres import PostgresServer
from stack.servers import Servers
from storage.api_keys import generate_key
from tests.cli.command import PROJECT, Alatau, clean_environment
from tests.deploy.composed import compose, prepare_commands, required_variables
from tests.system.client import districts_that_measure

pytestmark = pytest.mark.servers

# What people put into passwords.
AWKWARD = "p@ss w:rd/?#%41&'\"\\ß"


@dataclasses.dataclass(frozen=True, slots=True)
class Ports:
    """Where the services are here, by their port in the containers."""

    database: int
    broker: int
    secure: int
    ingest: int
    devices: int
    api: int
    maintenance: int
    alerts: int

    def moved(self, text: str) -> str:
        """Return a text of the file with the services' places as they are here."""
        for there, here in (
            ("database:5432", f"127.0.0.1:{self.database}"),
            ("broker:8883", f"localhost:{self.secure}"),
            ("8001", str(self.ingest)),
            ("8092", str(self.devices)),
            ("8000", str(self.api)),
            ("8090", str(self.maintenance)),
            ("8091", str(self.alerts)),
            ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - not to be listened on
        ):
            text = text.replace(there, here)
        return text


@dataclasses.dataclass(frozen=True, slots=True)
class Composed:
    """A city of the composed services."""

    ports: Ports
    key: str
    directory: pathlib.Path
    services: dict[str, dict[str, object]]

    def environment(self, service: str) -> dict[str, str]:
        """Return the variables of a service."""
        given = self.services[service]["environment"]
        assert isinstance(given, dict)
        moved = {name: self.ports.moved(str(value)) for name, value in given.items()}
        return {**moved, "ALATAU_DATA_DIR": str(self.directory), "ALATAU_MQTT_CA": str(self.authority)}

    @property
    def authority(self) -> pathlib.Path:
        return self.directory / "pki/ca.pem"

    @contextlib.contextmanager
    def running(self, service: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a service's own command with its own environment; it has to end well when it is asked to."""
        words = self.services[service]["command"]
        assert isinstance(words, list)
        log = self.directory / f"{service}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", "-m", "cli", *words[1:]],
                cwd=PROJECT,
                env=clean_environment(self.environment(service)),
                stdout=output,
                stderr=output,
            )
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(30) in {0, -15}, log.read_text()[-4000:]

    def health(self, service: str) -> int:
        """Run a service's health check and return its exit status."""
        check = self.services[service]["healthcheck"]
        assert isinstance(check, dict)
        program, *words = check["test"][1:]
        assert program == "python"
        return subprocess.run(  # noqa: S603 - our own program
            [sys.executable, *map(self.ports.moved, words)], check=False, capture_output=True
        ).returncode


@pytest.fixture(scope="module")
def directory() -> Iterator[pathlib.Path]:
    path = pathlib.Path(tempfile.mkdtemp(prefix="alatau-compose-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
async def composed(servers: Servers, directory: pathlib.Path) -> AsyncIterator[Composed]:
    """A database and a broker, prepared by the ``migrate`` service."""
    ports = Ports(*(free_port() for _ in range(8)))
    key = generate_key()
    secrets = {name: f"{AWKWARD}{name}" for name in required_variables()} | {"ALATAU_API_KEY": key}
    composed = Composed(ports, key, directory, compose({**secrets, "SIMULATED_DEVICES": "52"})["services"])
    overrides = {"shared_buffers": "128MB", "fsync": "off"}
    database = PostgresServer(servers, directory / "database", ports.database, overrides=overrides)
    claim(directory / "broker", server_account())
    async with database:
        await asyncio.to_thread(prepare, composed, database.superuser_url, servers)
        configuration = directory / "broker/mosquitto.conf"
        async with MosquittoServer(servers, configuration, ports.broker, directory / "broker.log"):
            yield composed


def prepare(composed: Composed, superuser_url: str, servers: Servers) -> None:
    """Run what ``deploy/prepare.sh`` runs, twice, as two starts of the services would."""
    environment = composed.environment("migrate")
    environment.pop("PGPASSWORD")
    environment["ALATAU_DATABASE_SUPERUSER_URL"] = superuser_url
    alatau = Alatau(environment)
    here = ["--plugin", str(servers.dynamic_security_plugin), "--address", "127.0.0.1"]
    for _ in range(2):
        for words in prepare_commands():
            if words[0] == "broker-files":
                words = ["broker-files", str(composed.directory / "broker"), *here]
                words += ["--port", str(composed.ports.broker), "--tls-port", str(composed.ports.secure)]
            result = alatau(*(word.replace("$SIMULATED_DEVICES", "52") for word in words))
            assert result.code == 0, result.errors


async def until_ready(port: int) -> None:
    probe, deadline = answers_ok(port), time.monotonic() + 30
    while not await probe():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_readings_flow_from_the_simulated_city_to_the_api(composed: Composed) -> None:
    assert composed.health("ingest") != 0
    with composed.running("ingest"), composed.running("api"):
        await until_ready(composed.ports.ingest)
        await until_ready(composed.ports.api)
        assert composed.health("ingest") == composed.health("api") == 0
        with composed.running("simulate"):
            deadline = time.monotonic() + 30
            where = f"http://127.0.0.1:{composed.ports.api}", composed.key
            while len(await asyncio.to_thread(districts_that_measure, *where)) < 4:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)


async def test_maintenance_and_alerts_are_well_by_their_own_health_checks(composed: Composed) -> None:
    assert composed.health("maintain") != 0
    assert composed.health("alert") != 0
    with composed.running("maintain"), composed.running("alert"):
        await until_ready(composed.ports.maintenance)
        await until_ready(composed.ports.alerts)
        assert composed.health("maintain") == composed.health("alert") == 0
        alatau = Alatau(composed.environment("migrate"))
        told = await asyncio.to_thread(alatau, "destination", "test", "mqtt")
    assert (told.code, told.out) == (0, "it arrived"), told.errors


def test_metrics_have_no_series_of_when_they_were_made(composed: Composed) -> None:
    with composed.running("api"):
        asyncio.run(until_ready(composed.ports.api))
        url = f"http://127.0.0.1:{composed.ports.api}/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:
            lines = response.read().decode().splitlines()
    assert lines
    assert not [line for line in lines if "_created" in line]
