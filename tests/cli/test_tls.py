"""Our own clients of a broker that speaks TLS only: who they trust, and what they say when they don't."""

from __future__ import annotations

import dataclasses
import datetime as dt
import pathlib
import random
import ssl
import time
from collections.abc import AsyncIterator

import pytest

from broker.admin import BrokerAdmin
from broker.errors import BrokerError
from cli.certificates import CertificateStore
from cli.connections import broker_ca
from cli.settings import Settings, SettingsError
from ingest.errors import SessionError
from ingest.session import Session, SessionOptions
from simulators.connection import Account, Broker
from simulators.errors import BrokerError as NotUpError
from simulators.publisher import Publisher
from stack.accounts import server_account
from stack.mosquitto import MosquittoServer
from stack.ownership import claim
from stack.ports import free_port
from stack.servers import Servers
from tests.cli.command import Alatau
from tests.stack.programs import run_program

pytestmark = pytest.mark.servers

# paho leaves the socket of a failed handshake to the garbage collector.
left_by_paho = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")

NOW = dt.datetime.now(dt.UTC)
ACCOUNT = ("admin", "secret")
ANSWERS = "$CONTROL/dynamic-security/v1/response"


@dataclasses.dataclass(frozen=True, slots=True)
class SecureBroker:
    """A broker of TLS 1.2 or later, with the authority of its certificate and another one."""

    port: int
    ca: pathlib.Path
    other_ca: pathlib.Path

    @property
    def url(self) -> str:
        return f"mqtts://localhost:{self.port}"


@pytest.fixture(scope="module")
async def broker(servers: Servers, directory_for_servers: pathlib.Path) -> AsyncIterator[SecureBroker]:
    ours, other = (CertificateStore(directory_for_servers / name) for name in ("pki", "other-pki"))
    ours.ensure_server([], NOW)
    other.ensure_authority(NOW)
    directory, port = directory_for_servers / "secure-broker", free_port()
    claim(directory, server_account())
    (directory / "server.pem").write_bytes(ours.server_file.read_bytes())
    accounts = directory / "dynamic-security.json"
    made = run_program(servers.mosquitto_ctrl, "dynsec", "init", accounts, *ACCOUNT)
    assert made.returncode == 0, made.stderr
    configuration = directory / "mosquitto.conf"
    configuration.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\ntls_version tlsv1.2\n"
        f"certfile {directory}/server.pem\nkeyfile {directory}/server.pem\n"
        f"plugin {servers.dynamic_security_plugin}\nplugin_opt_config_file {accounts}\n"
    )
    async with MosquittoServer(servers, configuration, port, directory_for_servers / "secure-broker.log"):
        yield SecureBroker(port, ours.authority_file, other.authority_file)


def session_options(broker: SecureBroker, ca: pathlib.Path) -> SessionOptions:
    trust = ssl.create_default_context(cafile=ca)
    return SessionOptions("localhost", broker.port, *ACCOUNT, client_id="test", tls=trust)


def connect_publisher(broker: SecureBroker, ca: pathlib.Path) -> None:
    account = Account("test-publisher", *ACCOUNT)
    at = Broker.at(broker.url, ca)
    publisher = Publisher(at, [account], window=4, rng=random.Random(1), monotonic=time.monotonic)  # noqa: S311
    try:
        publisher.open(2, lambda: False)
    finally:
        publisher.close(1)


async def test_the_accounts_are_administered_over_tls(broker: SecureBroker) -> None:
    async with BrokerAdmin(broker.url, *ACCOUNT, ca=str(broker.ca)) as admin:
        assert await admin.count_accounts() == 1


async def test_the_ingest_session_is_opened_over_tls(broker: SecureBroker) -> None:
    session = await Session.open(session_options(broker, broker.ca), [ANSWERS], lambda *_: True)
    session.abort()


def test_the_simulator_connects_over_tls(broker: SecureBroker) -> None:
    connect_publisher(broker, broker.ca)


@left_by_paho
async def test_an_authority_that_is_not_the_brokers_is_told_with_the_setting(broker: SecureBroker) -> None:
    async with BrokerAdmin(broker.url, *ACCOUNT, ca=str(broker.other_ca)) as admin:
        with pytest.raises(BrokerError, match=r"not trusted .* set ALATAU_MQTT_CA"):
            await admin.add_device("air-1", "x")
    with pytest.raises(SessionError, match=r"not trusted .* set ALATAU_MQTT_CA"):
        await Session.open(session_options(broker, broker.other_ca), [ANSWERS], lambda *_: True)
    with pytest.raises(NotUpError, match=r"not trusted .* set ALATAU_MQTT_CA"):
        connect_publisher(broker, broker.other_ca)


@left_by_paho
def test_publish_says_which_setting_makes_it_trust_the_broker(broker: SecureBroker, bare: Alatau) -> None:
    result = bare(
        *("publish", "--device", "air-1", "--timeout", "1"),
        stdin='{"pm2_5": 1}',
        ALATAU_DEVICE_SECRET="x",
        ALATAU_MQTT_URL=broker.url,
        ALATAU_MQTT_CA=str(broker.other_ca),
    )
    assert result.code == 1
    assert "set ALATAU_MQTT_CA" in result.errors


async def test_plain_text_to_the_port_of_tls_is_refused(broker: SecureBroker) -> None:
    options = dataclasses.replace(session_options(broker, broker.ca), tls=None)
    with pytest.raises(SessionError):
        await Session.open(options, [ANSWERS], lambda *_: True)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_that_is_no_authority_is_named(tmp_path: pathlib.Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=r"ALATAU_MQTT_CA: .*ca\.pem: .*; give a file of PEM"):
        broker_ca(Settings(mqtt_url="mqtts://localhost", mqtt_ca=path))
