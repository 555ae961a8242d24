"""``device add`` and ``device list``."""

from __future__ import annotations

import asyncpg
import pytest

from broker.accounts import Service
from cli.local import LocalStack
from tests.cli.command import Alatau
from tests.ingest.conftest import Device

pytestmark = pytest.mark.servers


def test_an_added_device_is_listed_with_what_it_is(alatau: Alatau) -> None:
    added = alatau(
        *("device", "add", "air-9", "--kind", "air_quality", "--district", "gate"),
        *("--position", "76.95,43.48", "--interval", "PT30S"),
    )
    assert added.code == 0
    assert "device air-9 secret " in added.out
    assert "mosquitto_pub -L" in added.out
    listed = alatau("device", "list", "--kind", "air_quality", "--after", "air-8", "--limit", "1").out
    assert "air-9 air_quality gate 76.9500, 43.4800 30 s no" in listed
    assert "There may be more: --after air-9" in listed


def test_its_secret_lets_it_in_at_a_running_broker(alatau: Alatau, local_stack: LocalStack) -> None:
    added = alatau(
        *("device", "add", "lamp-1", "--kind", "street_light", "--district", "golden"),
        ALATAU_MQTT_URL=local_stack.mqtt_url,
        ALATAU_BROKER_ADMIN_PASSWORD=local_stack.secrets.services[Service.ADMIN],
    )
    secret = added.out.partition("secret ")[2].split()[0]
    lamp = Device(local_stack.ports.mqtt, "lamp-1", secret)
    try:
        lamp.publish({"power": 50.0})
        assert lamp.refused == []
    finally:
        lamp.close()


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
