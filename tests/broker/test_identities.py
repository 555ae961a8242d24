"""What Mosquitto makes of a certificate: why a list alone keeps a device out that shows one (0017).

Each holds a fact of the broker that the decision stands on. When one fails after an upgrade, decide anew.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import pathlib
import ssl
from collections.abc import AsyncIterator, Callable

import pytest

from broker.accounts import Service
from broker.admin import BrokerAdmin
from broker.config import BrokerOptions
from stack.accounts import server_account
from stack.mosquitto import MosquittoServer
from stack.ownership import claim
from stack.pki import Authority
from stack.ports import free_port
from stack.servers import Servers
from tests.broker.clients import ALLOWED, NOT_AUTHORIZED, Client
from tests.broker.conftest import SECRET, write_files

pytestmark = pytest.mark.servers

NOW = dt.datetime.now(dt.UTC)
DEVICE = "air-1"
# A certificate instead of a secret; one that must be shown, and one that may.
MUST, MAY = "true", "false"

# Makes a client with a certificate of a name, or none, to the listener where one must or may be shown.
Enter = Callable[[str, str | None], tuple[str, Client]]


@pytest.fixture(scope="module")
async def admin(
    servers: Servers, directory_for_servers: pathlib.Path, enter_ports: dict[str, int], authority: Authority
) -> AsyncIterator[BrokerAdmin]:
    """Whoever changes the accounts of a broker that takes the name of a certificate for the user name."""
    directory, port = directory_for_servers / "identities", free_port()
    options = BrokerOptions(port=port, data_dir=directory / "broker", plugin=servers.dynamic_security_plugin)
    await asyncio.to_thread(directory.mkdir)
    claim(options.data_dir, server_account())
    write_files(options, [DEVICE])
    ca, server = options.data_dir / "ca.pem", options.data_dir / "identity.pem"
    ca.write_bytes(authority.certificate)
    server.write_bytes(authority.issue_server(["localhost"], NOW))
    listeners = "".join(
        f"listener {number} 127.0.0.1\ncertfile {server}\nkeyfile {server}\ncafile {ca}\n"
        f"require_certificate {shown}\nuse_identity_as_username true\nuse_username_as_clientid true\n"
        for shown, number in enter_ports.items()
    )
    text = options.config_file.read_text()
    options.config_file.write_text(
        text.replace("allow_anonymous false\n", f"{listeners}allow_anonymous false\n")
    )
    async with (
        MosquittoServer(servers, options.config_file, port, directory / "log"),
        BrokerAdmin(f"mqtt://127.0.0.1:{port}", Service.ADMIN, SECRET) as admin,
    ):
        yield admin


@pytest.fixture(scope="module")
def enter_ports() -> dict[str, int]:
    return {MUST: free_port(), MAY: free_port()}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("test", NOW)


@pytest.fixture
def enter(
    admin: BrokerAdmin,
    enter_ports: dict[str, int],
    authority: Authority,
    tmp_path: pathlib.Path,
    request: pytest.FixtureRequest,
) -> Enter:
    def enter(shown: str, name: str | None) -> tuple[str, Client]:
        (tmp_path / "ca.pem").write_bytes(authority.certificate)
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        context.check_hostname = False
        if name is not None:
            (tmp_path / "client.pem").write_bytes(authority.issue_client(name, NOW))
            context.load_cert_chain(tmp_path / "client.pem")
        client = Client("victim", DEVICE, SECRET)
        client.client.tls_set_context(context)
        request.addfinalizer(client.close)
        return client.connect(enter_ports[shown]), client

    return enter


def published(client: Client, device: str) -> str:
    return client.publish(f"alatau/v1/{device}/telemetry", b'{"pm2_5": 1}')


async def test_a_certificate_gives_its_name_and_client_id_whatever_the_client_says(enter: Enter) -> None:
    said, client = await asyncio.to_thread(enter, MUST, DEVICE)
    assert said == ALLOWED
    assert await asyncio.to_thread(published, client, DEVICE) == ALLOWED
    assert await asyncio.to_thread(published, client, "victim") == NOT_AUTHORIZED


async def test_nobody_asks_the_accounts_about_a_certificate(admin: BrokerAdmin, enter: Enter) -> None:
    """So a device goes on that was disabled or deleted, or was never there."""
    for act in (admin.disable_device, admin.delete_device):
        said, client = await asyncio.to_thread(enter, MUST, DEVICE)
        await act(DEVICE)
        # It is thrown out, and comes back.
        assert await asyncio.to_thread(client.left.wait, 10)
        said, client = await asyncio.to_thread(enter, MUST, DEVICE)
        assert (said, await asyncio.to_thread(published, client, DEVICE)) == (ALLOWED, ALLOWED)
        await asyncio.to_thread(client.close)
        assert await asyncio.to_thread(client.left.wait, 10)
    said, client = await asyncio.to_thread(enter, MUST, "never-there")
    assert (said, await asyncio.to_thread(published, client, "never-there")) == (ALLOWED, ALLOWED)


async def test_a_certificate_of_the_name_of_a_service_is_that_service(enter: Enter) -> None:
    said, client = await asyncio.to_thread(enter, MUST, Service.ADMIN)
    assert said == ALLOWED
    command = b'{"commands": [{"command": "listClients"}]}'
    assert await asyncio.to_thread(client.publish, "$CONTROL/dynamic-security/v1", command) == ALLOWED


@pytest.mark.parametrize("name", [DEVICE, None])
async def test_one_port_can_not_take_secrets_and_certificates(enter: Enter, name: str | None) -> None:
    """Where none must be shown Mosquitto asks for none, and where it takes names of them it takes no secret."""
    said, _ = await asyncio.to_thread(enter, MAY, name)
    assert said == "Bad user name or password"
