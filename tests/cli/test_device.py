"""``device``: adding one or many, listing, a new secret, keeping one out, deleting one."""

from __future__ import annotations

import asyncio
import csv
import pathlib
import re

import asyncpg
import pytest

from cli.local import LocalStack
from storage.devices import find_device
from tests.broker.clients import ALLOWED, NOT_AUTHORIZED, Client, connected
from tests.cli.command import Alatau

pytestmark = pytest.mark.servers


def test_an_added_device_is_listed_with_what_it_is(alatau: Alatau) -> None:
    added = alatau(
        *("device", "add", "air-9", "--kind", "air_quality", "--district", "gate"),
        *("--position", "76.95,43.48", "--interval", "PT30S"),
    )
    assert added.code == 0
    assert "device air-9 user air-9 secret " in added.out
    assert "A reading of it: mosquitto_pub -h 127.0.0.1 -p" in added.out
    listed = alatau("device", "list", "--kind", "air_quality", "--after", "air-8", "--limit", "1").out
    assert "air-9 air_quality gate 76.9500, 43.4800 30 s no" in listed
    assert "There may be more: --after air-9" in listed


def test_a_program_is_printed_that_has_the_new_secret(alatau: Alatau) -> None:
    board = ("--kind", "noise", "--district", "gate", "--interval", "PT30S")
    added = alatau("device", "add", "board-1", *board, "--snippet", "arduino")
    renewed = alatau("device", "secret", "board-1", "--snippet", "micropython")
    for printed, title in (
        (added, "Arduino, for a file device.ino:"),
        (renewed, "MicroPython, for a file main.py:"),
    ):
        assert (printed.code, printed.errors.count("broker was not told")) == (0, 1)
        assert title in printed.out
        assert f'"{secret_of(printed.out)}"' in printed.out.partition(title)[2]
        assert "once in 30 s" in printed.out
    assert secret_of(added.out) != secret_of(renewed.out)


def test_a_program_is_put_in_a_file_of_its_owner_alone(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "main.c"
    board = ("--kind", "noise", "--district", "gate", "--snippet", "esp-idf", "--output", str(file))
    assert "is not known" in alatau("device", "add", "board-2", *board, "--district", "x").errors
    assert not file.exists()
    added = alatau("device", "add", "board-2", *board)
    assert f"How it sends readings is in {file}" in added.out
    assert f'"{secret_of(added.out)}"' in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    again = alatau("device", "add", "board-3", *board)
    assert (again.code, again.errors) == (1, f"alatau: {file}: File exists; give another file with --output")


def secret_of(printed: str) -> str:
    return printed.partition("secret ")[2].split()[0]


def add(telling: Alatau, device: str) -> str:
    """Register a device and return its secret."""
    added = telling("device", "add", device, "--kind", "street_light", "--district", "golden")
    assert (added.code, added.errors) == (0, "")
    return secret_of(added.out)


def test_its_secret_lets_it_in_at_a_running_broker(telling: Alatau, local_stack: LocalStack) -> None:
    with connected(local_stack.ports.mqtt, "lamp-1", add(telling, "lamp-1")) as lamp:
        assert lamp.publish("alatau/v1/lamp-1/telemetry", b'{"power": 50}') == ALLOWED


async def test_a_device_lives_until_it_is_deleted(
    telling: Alatau, local_stack: LocalStack, connection: asyncpg.Connection
) -> None:
    port, secret = local_stack.ports.mqtt, add(telling, "lamp-3")
    with connected(port, "lamp-3", secret) as lamp:
        assert telling("device", "disable", "lamp-3").out == "lamp-3 is disabled"
        assert lamp.left.wait(10)
    listed = telling("device", "list", "--after", "lamp-2", "--limit", "1").out
    assert re.search(r"lamp-3 street_light golden - 60 s no \d{4}-\d\d-\d\d", listed)
    assert telling("device", "enable", "lamp-3").out == "lamp-3 is enabled"
    with connected(port, "lamp-3", secret) as lamp:
        renewed = secret_of(telling("device", "secret", "lamp-3").out)
        assert lamp.left.wait(10)
    with connected(port, "lamp-3", renewed) as lamp:
        assert telling("device", "delete", "lamp-3").out == "lamp-3 is deleted"
        assert lamp.left.wait(10)
    rows = await connection.fetch(
        "SELECT action FROM alatau.audit WHERE subject = 'lamp-3' ORDER BY audit_id"
    )
    acts = ["register device", "disable device", "enable device", "replace secret", "delete device"]
    assert [row["action"] for row in rows] == acts


def test_both_secrets_are_good_during_the_grace(telling: Alatau, local_stack: LocalStack) -> None:
    port, old = local_stack.ports.mqtt, add(telling, "lamp-4")
    rotated = telling("device", "secret", "lamp-4", "--grace", "P1D")
    assert "device lamp-4 user lamp-4~2 secret " in rotated.out
    for user, secret in (("lamp-4", old), ("lamp-4~2", secret_of(rotated.out))):
        with connected(port, user, secret, client_id="lamp-4") as lamp:
            assert lamp.publish("alatau/v1/lamp-4/telemetry", b'{"power": 50}') == ALLOWED
    again = telling("device", "secret", "lamp-4", "--grace", "P1D")
    assert (again.code, "without a grace" in again.errors) == (1, True)
    now = secret_of(telling("device", "secret", "lamp-4").out)
    with connected(port, "lamp-4", now):
        pass
    assert "--grace" in telling("device", "secret", "lamp-4", "--grace", "P31D").errors


async def test_a_device_with_readings_is_not_deleted(alatau: Alatau, connection: asyncpg.Connection) -> None:
    assert alatau("device", "add", "noisy", "--kind", "noise", "--district", "green").code == 0
    await connection.execute(
        "INSERT INTO reading.noise (device_id, time, received_at) "
        "SELECT device_id, now(), now() FROM alatau.device WHERE id = 'noisy'"
    )
    result = alatau("device", "delete", "noisy")
    assert (result.code, "alatau device disable noisy" in result.errors) == (1, True)
    acts = await connection.fetch("SELECT action FROM alatau.audit WHERE subject = 'noisy'")
    assert [act["action"] for act in acts] == ["register device"]


@pytest.mark.parametrize("change", ["disable", "enable", "delete", "secret"])
def test_a_device_that_is_not_there_is_not_changed(alatau: Alatau, change: str) -> None:
    result = alatau("device", change, "nobody")
    assert (result.code, "no device nobody is registered" in result.errors) == (1, True)


# -- many ------------------------------------------------------------------------------------------

HEADER = "id,kind,district,longitude,latitude,interval,installed\n"


def read_verdicts(file: pathlib.Path) -> dict[str, tuple[str, str, str]]:
    with file.open(newline="") as source:
        return {row["id"]: (row["verdict"], row["detail"], row["secret"]) for row in csv.DictReader(source)}


async def test_each_row_of_a_file_has_its_verdict(
    telling: Alatau, local_stack: LocalStack, connection: asyncpg.Connection, tmp_path: pathlib.Path
) -> None:
    add(telling, "many-known")
    file = tmp_path / "devices.csv"
    rows = [
        "many-1,street_light,golden,77.02,43.58,PT30S,2026-01-01T00:00:00Z",
        "many-2,street_light,golden,,,,",
        "many-2,street_light,golden,,,,",
        "many-known,street_light,golden,,,,",
        "many-3,street_lamp,golden,,,,",
        "many-4,street_light,golden,77.02,x,,",
        "many-5,street_light,golden,,,,tomorrow",
        "many-6,street_light,golden",
        "alatau-7,street_light,golden,,,,",
    ]
    await asyncio.to_thread(file.write_text, HEADER + "\n".join(rows) + "\n")
    result = telling("device", "add", "--from", str(file))
    assert (result.code, result.out.split(";")[0]) == (1, "2 registered, 1 there already, 6 refused")
    output = tmp_path / "devices.secrets.csv"
    assert (await asyncio.to_thread(output.stat)).st_mode & 0o777 == 0o600
    verdicts = await asyncio.to_thread(read_verdicts, output)
    details = {device: detail for device, (_, detail, _) in verdicts.items() if detail}
    assert {device: verdict for device, (verdict, _, _) in verdicts.items()} == {
        "many-1": "registered",
        "many-known": "there already",
        **dict.fromkeys(["many-2", "many-3", "many-4", "many-5", "many-6", "alatau-7"], "refused"),
    }
    for device, told in {
        "many-2": "has this id before",
        "many-3": 'did you mean "street_light"?',
        "many-4": "write degrees",
        "many-5": "installed",
        "many-6": "fewer cells",
        "alatau-7": "is not free",
    }.items():
        assert told in details[device]
    with connected(local_stack.ports.mqtt, "many-1", verdicts["many-1"][2]):
        pass
    registered = await find_device(connection, "many-1")
    assert registered is not None
    assert (registered.position, registered.interval_seconds) == ((77.02, 43.58), 30)
    acts = await connection.fetch("SELECT detail FROM alatau.audit WHERE action = 'register devices'")
    assert {"count": 2, "first": "many-1", "last": "many-2"} in [act["detail"] for act in acts]


def test_secrets_of_an_earlier_run_are_not_overwritten(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    file, output = tmp_path / "devices.csv", tmp_path / "mine.csv"
    file.write_text("id,kind,district\nkept-1,noise,green\n")
    output.write_text("secrets")
    result = alatau("device", "add", "--from", str(file), "--output", str(output))
    assert (result.code, "--output" in result.errors, output.read_text()) == (1, True, "secrets")
    assert "kept-1" not in alatau("device", "list", "--after", "kept-0", "--limit", "1").out


def test_more_than_the_broker_can_take_at_once_wait_for_its_next_start(
    telling: Alatau, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "devices.csv"
    file.write_text("id,kind,district\n" + "".join(f"bulk-{n},noise,green\n" for n in range(6000)))
    result = telling("device", "add", "--from", str(file))
    assert (result.code, "6,000 registered" in result.out) == (0, True)
    assert "when it is started next" in result.errors


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file"),
        (b"id,kind\n", "needs the columns district"),
        (b"id,kind,distrct\n", 'did you mean "district"?'),
        (b"", "needs the columns id, kind, district"),
        (b"\xff\xfe", "utf-8"),
    ],
    ids=["absent", "column-missing", "column-misspelt", "empty", "not-utf-8"],
)
def test_a_file_that_can_t_be_used_is_refused_whole(
    alatau: Alatau, tmp_path: pathlib.Path, content: bytes | None, told: str
) -> None:
    file = tmp_path / "devices.csv"
    if content is not None:
        file.write_bytes(content)
    result = alatau("device", "add", "--from", str(file))
    assert (result.code, told in result.errors) == (1, True), result.errors
    assert not (tmp_path / "devices.secrets.csv").exists()


# -- refused ---------------------------------------------------------------------------------------


async def test_a_device_that_the_broker_refuses_is_not_stored(
    alatau: Alatau, local_stack: LocalStack, connection: asyncpg.Connection
) -> None:
    result = alatau(
        *("device", "add", "lamp-2", "--kind", "street_light", "--district", "golden"),
        ALATAU_MQTT_URL=local_stack.mqtt_url,
        ALATAU_BROKER_ADMIN_PASSWORD="wrong",
    )
    assert result.code == 1
    assert "ALATAU_BROKER_ADMIN_PASSWORD" in result.errors
    assert await connection.fetchval("SELECT count(*) FROM alatau.device WHERE id = 'lamp-2'") == 0


def test_a_device_is_added_once(alatau: Alatau) -> None:
    arguments = ("device", "add", "twin", "--kind", "noise", "--district", "green")
    assert alatau(*arguments).code == 0
    again = alatau(*arguments)
    assert (again.code, "registered already" in again.errors) == (1, True)


def test_simulated_devices_are_added_once(alatau: Alatau) -> None:
    assert alatau("device", "add", "--simulated", "26").code == 0
    assert (
        "0 simulated devices added, 26 were there already" in alatau("device", "add", "--simulated", "26").out
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["device", "add"], "which device?"),
        (["device", "add", "x", "--kind", "noize", "--district", "gate"], 'did you mean "noise"?'),
        (["device", "add", "x", "--kind", "noise", "--district", "gat"], 'did you mean "gate"?'),
        (["device", "add", "x y", "--kind", "noise", "--district", "gate"], "1 to 64 letters"),
        (
            ["device", "add", "x", "--kind", "noise", "--district", "gate", "--position", "1"],
            "longitude,latitude",
        ),
        (["device", "add", "x", "--kind", "noise", "--district", "gate", "--interval", "1m"], "interval"),
        (["device", "list", "--kind", "noize"], 'did you mean "noise"?'),
        (["device", "list", "--district", "gat"], 'did you mean "gate"?'),
        (["device", "add", "--simulated", "1", "--credentials"], "./alatau up"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(
    alatau: Alatau, arguments: list[str], told: str
) -> None:
    result = alatau(*arguments)
    assert result.code == 1
    assert told in result.errors
    assert "Traceback" not in result.errors


def test_a_new_secret_lets_no_disabled_device_in(telling: Alatau, local_stack: LocalStack) -> None:
    add(telling, "mute-1")
    telling("device", "disable", "mute-1")
    printed = telling("device", "secret", "mute-1", "--grace", "P1D").out
    user = printed.partition("user ")[2].split()[0]
    client = Client("mute-1", user, secret_of(printed))
    try:
        assert client.connect(local_stack.ports.mqtt) == NOT_AUTHORIZED
    finally:
        client.close()
