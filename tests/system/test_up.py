"""``up`` as its user has it: the real command, the whole city, whatever is done to it."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
import orjson
import pytest

from stack.pki import Certificate
from stack.ports import free_port
from stack.servers import Servers
from tests.broker.clients import ALLOWED, connected
from tests.cli.command import start
from tests.served import trusting, until_shown
from tests.system.client import ask, districts_that_measure

pytestmark = pytest.mark.servers

DISTRICTS = {"gate", "golden", "growing", "green"}
EVERYWHERE = "0.0.0.0"  # noqa: S104 - TLS only
PORTS = (
    "DATABASE",
    "MQTT",
    "MQTTS",
    "MQTT_CERTIFICATES",
    "INGEST",
    "INGEST_HTTP",
    "API",
    "MAINTENANCE",
    "ALERTS",
)


def processes_of(root: pathlib.Path) -> dict[int, str]:
    """Return the command line of every process that was given something in a directory."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line, environment = ((entry / name).read_bytes() for name in ("cmdline", "environ"))
            except OSError:
                continue
            if str(root).encode() in line + environment:
                found[int(entry.name)] = line.replace(b"\0", b" ").decode().strip()
    return found


def lives(pid: int) -> bool:
    return pathlib.Path(f"/proc/{pid}").exists()


@dataclasses.dataclass
class City:
    """An ``up`` that can be started again."""

    directory: pathlib.Path
    ports: dict[str, int] = dataclasses.field(default_factory=lambda: {name: free_port() for name in PORTS})
    ready: dict[str, str] = dataclasses.field(default_factory=dict)
    admin_password: str = ""
    process: subprocess.Popen[bytes] | None = None
    more: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def root(self) -> pathlib.Path:
        return self.directory / "city"

    @property
    def settings(self) -> dict[str, str]:
        ports = {f"ALATAU_{name}_PORT": str(port) for name, port in self.ports.items()}
        return {"ALATAU_DATA_DIR": str(self.root), **ports, **self.more}

    async def start(self) -> float:
        """Start, and return after how many seconds the ready line came."""
        began = time.monotonic()
        self.process = start("up", "--json", "--devices", "52", **self.settings)
        assert self.process.stdout is not None
        async with asyncio.timeout(120):
            line = await asyncio.to_thread(self.process.stdout.readline)
        if not line:
            pytest.fail(self.process.communicate()[1].decode())
        self.ready = orjson.loads(line)
        self.admin_password = self.ready.get("admin_password", self.admin_password)
        return time.monotonic() - began

    async def stop(self) -> str:
        """Ask it to stop, and return what it said."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.to_thread(self.process.communicate, timeout=90)
        assert self.process.returncode == 0, errors
        return errors.decode()

    async def ask(self, path: str) -> Any:
        return await asyncio.to_thread(ask, *self._api, path, self.ready.get("ALATAU_API_CA"))

    async def districts(self) -> set[str]:
        return await asyncio.to_thread(districts_that_measure, *self._api, self.ready.get("ALATAU_API_CA"))

    @property
    def _api(self) -> tuple[str, str]:
        return self.ready["ALATAU_API_URL"], self.ready["ALATAU_API_KEY"]

    async def readings(self) -> int:
        return len((await self.ask("/api/v1/readings?device=sample-air-1"))["time"])

    async def send_first_reading(self) -> None:
        """Run the line that was printed, as it was printed."""
        words = shlex.split(self.ready["first_reading"])
        sent = await asyncio.create_subprocess_exec(*words)
        assert await sent.wait() == 0

    def ingest(self) -> int | None:
        """Return the pid of the worker."""
        found = [pid for pid, line in processes_of(self.root).items() if line.endswith("-m cli ingest")]
        return found[0] if found else None


@pytest.fixture(scope="module")
def directory(servers: Servers) -> Iterator[pathlib.Path]:
    """Everybody may enter it, as the servers' own account has to. The servers are provisioned by now."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="alatau-up-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
async def city(directory: pathlib.Path) -> AsyncIterator[City]:
    city = City(
        directory,
        more=dict.fromkeys(("ALATAU_MQTT_ADDRESS", "ALATAU_API_HOST", "ALATAU_INGEST_HTTP_HOST"), EVERYWHERE),
    )
    try:
        print(f"\nfirst start: ready after {await city.start():.1f} s")
        yield city
    finally:
        if city.process is not None and city.process.poll() is None:
            await city.stop()


async def until(is_true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not come in time"
        await asyncio.sleep(0.02)


async def until_stored(city: City, count: int, seconds: float) -> None:
    """Wait until the sample device has so many readings."""
    deadline = time.monotonic() + seconds
    while await city.readings() < count:
        assert time.monotonic() < deadline, "the reading did not come in time"
        await asyncio.sleep(0.02)


async def test_every_district_measures_when_the_city_is_ready(city: City) -> None:
    assert await city.districts() == DISTRICTS


async def test_the_printed_line_sends_a_reading_that_the_api_has_within_a_second(city: City) -> None:
    before = await city.readings()
    await city.send_first_reading()
    await until_stored(city, before + 1, seconds=1)


async def test_what_was_printed_is_in_a_private_file_to_be_sourced(city: City) -> None:
    file = city.root / "env"
    script = f". {shlex.quote(str(file))} && env"
    sourced = await asyncio.create_subprocess_exec("sh", "-c", script, stdout=subprocess.PIPE)
    out, _ = await sourced.communicate()
    lines = out.decode().splitlines()
    for name, value in city.ready.items():
        if name.startswith("ALATAU_"):
            assert f"{name}={value}" in lines
    assert file.stat().st_mode & 0o077 == 0


async def test_the_admin_of_the_first_start_signs_in_and_the_password_is_kept_nowhere(city: City) -> None:
    body = {"name": "admin", "password": city.admin_password}
    trust = trusting(pathlib.Path(city.ready["ALATAU_API_CA"]))
    async with httpx2.AsyncClient(base_url=city.ready["ALATAU_API_URL"], verify=trust) as browser:
        assert (await browser.post("/api/v1/session", json=body)).status_code == 201
        assert (await browser.get("/api/v1/users")).json()["users"][0]["role"] == "admin"
    files = [path for path in city.root.rglob("*") if path.is_file() and "database" not in path.parts]
    assert not [path for path in files if body["password"].encode() in path.read_bytes()]


async def test_a_network_reaches_it_by_tls_alone_and_a_renewed_certificate_is_taken_up(city: City) -> None:
    assert city.ready["ALATAU_MQTT_URL"].startswith("mqtts://")
    assert city.ready["ALATAU_API_URL"].startswith("https://")
    # Of this machine, and not the one address: so is every address of a network.
    for port in (city.ports["MQTTS"], city.ports["API"], city.ports["INGEST_HTTP"]):
        _, connection = await asyncio.open_connection("127.0.0.2", port)
        connection.close()
        await connection.wait_closed()
    for port in (city.ports["MQTT"], city.ports["DATABASE"]):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.2", port)

    renewing = start("pki", "server", "--name", "renewed.city", ALATAU_DATA_DIR=str(city.root))
    await asyncio.to_thread(renewing.communicate, timeout=30)
    served = Certificate((city.root / "pki/server.pem").read_bytes())
    assert "renewed.city" in served.names
    trusted = {"MQTTS": "ALATAU_MQTT_CA", "API": "ALATAU_API_CA", "INGEST_HTTP": "ALATAU_API_CA"}
    for port, authority in ((city.ports[name], authority) for name, authority in trusted.items()):
        trust = trusting(pathlib.Path(city.ready[authority]))
        await asyncio.to_thread(until_shown, port, trust, served.fingerprint.replace(":", ""))


async def test_a_device_without_mqtt_sends_by_https(city: City) -> None:
    before, device = await city.readings(), city.ready["ALATAU_DEVICE_ID"]
    place = f"https://localhost:{city.ready['ALATAU_INGEST_HTTP_PORT']}/ingest/v1/{device}/telemetry"
    trust = trusting(pathlib.Path(city.ready["ALATAU_API_CA"]))
    async with httpx2.AsyncClient(verify=trust, auth=(device, city.ready["ALATAU_DEVICE_SECRET"])) as client:
        answer = await client.post(place, json={"pm2_5": 12.5}, timeout=30)
    assert answer.status_code == 204, answer.text
    assert await city.readings() == before + 1


async def test_a_killed_worker_is_replaced_and_nothing_is_missed(city: City) -> None:
    before, worker = await city.readings(), city.ingest()
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    await city.send_first_reading()
    await until(lambda: city.ingest() not in {None, worker}, seconds=15)
    await until_stored(city, before + 1, seconds=15)


async def test_a_bulk_of_devices_is_let_in_as_soon_as_it_is_registered(city: City) -> None:
    file = city.directory / "bulk.csv"
    rows = [f"bulk-{number},air_quality,gate" for number in range(1500)]
    file.write_text("\n".join(["id,kind,district", *rows, ""]))
    adding = start("device", "add", "--from", str(file), **city.settings)
    out, errors = await asyncio.to_thread(adding.communicate, timeout=60)
    assert "started again with their accounts" in out.decode(), errors.decode()
    last = file.with_suffix(".secrets.csv").read_text().splitlines()[-1].split(",")
    with connected(city.ports["MQTT"], last[0], last[3]) as device:
        assert device.publish(f"alatau/v1/{last[0]}/telemetry", b'{"pm2_5": 1}') == ALLOWED


async def test_a_second_up_of_the_same_city_says_that_it_runs(city: City) -> None:
    second = start("up", **city.settings)
    _, errors = await asyncio.to_thread(second.communicate, timeout=30)
    assert second.returncode == 1
    assert "is running already" in errors.decode()


async def test_stopping_leaves_no_process_and_starting_again_keeps_the_data(city: City) -> None:
    await city.send_first_reading()
    count, key = await city.readings(), city.ready["ALATAU_API_KEY"]
    running = processes_of(city.root)
    assert len(running) > 5
    assert "the data is kept" in await city.stop()
    assert processes_of(city.root) == {}
    assert not [pid for pid in running if lives(pid)]

    print(f"\nsecond start: ready after {await city.start():.1f} s")
    assert city.ready["ALATAU_API_KEY"] == key
    assert "admin_password" not in city.ready  # it is printed once
    assert await city.readings() >= count
    assert await city.districts() == DISTRICTS


@pytest.mark.parametrize("name", PORTS)
async def test_a_busy_port_is_named_with_its_variable_and_nothing_is_left_running(
    directory: pathlib.Path, name: str
) -> None:
    city = City(directory / name.lower())
    with socket.create_server(("127.0.0.1", city.ports[name])):
        process = start("up", **city.settings)
        _, errors = await asyncio.to_thread(process.communicate, timeout=30)
    said = errors.decode()
    assert process.returncode == 1
    assert f"Port {city.ports[name]}" in said
    assert f"ALATAU_{name}_PORT" in said
    assert "Traceback" not in said
    assert processes_of(city.root) == {}


async def test_a_data_directory_that_is_none_is_named(directory: pathlib.Path) -> None:
    file = directory / "file"
    file.write_text("")
    process = start("up", ALATAU_DATA_DIR=str(file))
    _, errors = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 1
    assert str(file) in errors.decode()
    assert "Traceback" not in errors.decode()
