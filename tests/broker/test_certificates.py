"""The broker's TLS: which versions, whose certificate, and that a renewed one is taken up."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl

import pytest

from broker.config import write_certificate
from cli.certificates import CertificateStore
from stack.pki import Certificate
from tests.broker.clients import ALLOWED, connected
from tests.broker.conftest import SECRET, Broker, started_with
from tests.served import shown, trusting, until_shown

pytestmark = pytest.mark.servers


def fingerprint(store: CertificateStore) -> str:
    return Certificate(store.server_file.read_bytes()).fingerprint.replace(":", "")


def secure_port(broker: Broker) -> int:
    assert broker.options.secure is not None
    return broker.options.secure.port


async def test_a_renewed_certificate_is_shown_to_who_connects_and_nobody_is_thrown_out(
    broker: Broker,
) -> None:
    await started_with(broker, "air-1")
    port, trust = secure_port(broker), trusting(broker.store.authority_file)
    topic = "alatau/v1/air-1/telemetry"
    with connected(port, "air-1", SECRET, trust=trust) as device:
        before = fingerprint(broker.store)
        assert shown(port, trust) == before
        assert broker.store.ensure_server(["renewed.city"], dt.datetime.now(dt.UTC))
        write_certificate(broker.options, broker.store.server_file.read_bytes())
        broker.server.reload()
        until_shown(port, trust, fingerprint(broker.store))
        assert fingerprint(broker.store) != before
        assert device.publish(topic, b'{"pm2_5": 1}') == ALLOWED
        assert not device.left.is_set()


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(broker: Broker, version: str) -> None:
    trust = trusting(broker.store.authority_file, version)
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        shown(secure_port(broker), trust)


async def test_plain_text_is_refused_at_every_address_but_one(broker: Broker) -> None:
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.2", broker.port)
