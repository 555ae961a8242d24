"""``gateway``: adding, keeping out and removing what speaks for devices in another format."""

from __future__ import annotations

import asyncpg
import pytest

from broker.drift import compare
from cli.local import LocalStack
from sensors.gateways import gateway_client_id
from storage.accounts import hold_all_accounts, load_all_credentials
from tests.broker.clients import ALLOWED, NOT_AUTHORIZED, Client, connected
from tests.cli.command import Alatau

pytestmark = pytest.mark.servers

USER, CLIENT = "alatau-gateway-chirpstack-lora", gateway_client_id("lora")
UPLINK = "application/air/device/0102030405060708/event/up"


def secret_of(text: str) -> str:
    return text.partition("secret ")[2].split()[0]


async def test_a_gateway_lives_until_it_is_removed(
    telling: Alatau, local_stack: LocalStack, connection: asyncpg.Connection
) -> None:
    port = local_stack.ports.mqtt
    added = telling("gateway", "add", "lora", "--format", "chirpstack")
    assert (added.code, added.errors) == (0, "")
    assert f"broker {local_stack.mqtt_url} user {USER} client {CLIENT}" in added.out
    secret = secret_of(added.out)
    assert f'[integration.mqtt] server = "tcp://127.0.0.1:{port}" client_id = "{CLIENT}"' in added.out
    with connected(port, USER, secret, client_id=CLIENT) as gateway:
        assert gateway.publish(UPLINK, b"{}") == ALLOWED
        assert telling("gateway", "disable", "lora").out == "lora is disabled"
        assert gateway.left.wait(10)
    assert (await load_all_credentials(connection))[USER].is_disabled
    # A new secret is no way in.
    renewed = secret_of(telling("gateway", "secret", "lora").out)
    late = Client(CLIENT, USER, renewed)
    assert late.connect(port) == NOT_AUTHORIZED
    late.close()
    assert telling("gateway", "enable", "lora").out == "lora is enabled"
    assert f"lora chirpstack {USER}" in telling("gateway", "list").out
    async with local_stack.admin as admin:
        drift = compare(await hold_all_accounts(connection), await admin.list_devices())
    assert not any(USER in accounts for accounts in drift.values()), "others are of other tests"
    with connected(port, USER, renewed, client_id=CLIENT) as gateway:
        assert telling("gateway", "remove", "lora").out == "lora is removed"
        assert gateway.left.wait(10)
    assert telling("gateway", "list").out == "No gateways."
    acts = await connection.fetch("SELECT action FROM alatau.audit WHERE subject = 'lora' ORDER BY audit_id")
    assert [act["action"] for act in acts] == [
        *("add gateway", "disable gateway", "replace secret of gateway", "enable gateway", "remove gateway")
    ]


async def test_its_secret_is_kept_as_a_hash_alone(alatau: Alatau, connection: asyncpg.Connection) -> None:
    secret = secret_of(alatau("gateway", "add", "tts", "--format", "things_stack").out)
    row = await connection.fetchrow("SELECT * FROM alatau.gateway WHERE name = 'tts'")
    assert row is not None
    assert secret not in str(row)
    assert alatau("gateway", "remove", "tts").code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("add", "Lora", "--format", "chirpstack"), "no name of a gateway"),
        (("add", "a-name-of-14-c", "--format", "chirpstack"), "1 to 13"),
        (("add", "lora", "--format", "chirpstak"), 'did you mean "chirpstack"?'),
        (("add", "lora", "--format", "senml"), "alatau device add"),
        (("remove", "nobody"), "alatau gateway list"),
        (("disable", "nobody"), "alatau gateway list"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(
    alatau: Alatau, arguments: tuple[str, ...], told: str
) -> None:
    result = alatau("gateway", *arguments)
    assert (result.code, told in result.errors) == (1, True), result.errors


def test_there_is_one_of_each_name(alatau: Alatau) -> None:
    assert alatau("gateway", "add", "one", "--format", "sparkplug").code == 0
    again = alatau("gateway", "add", "one", "--format", "chirpstack")
    assert (again.code, "choose another name" in again.errors) == (1, True)
    assert alatau("gateway", "remove", "one").code == 0
