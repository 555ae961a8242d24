"""Devices that show a certificate: who gets in, as whom, what they may, and who is thrown out when."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import pathlib
import ssl
from collections.abc import AsyncIterator, Collection, Iterator

import pytest

from broker.config import write_trust
from cli.certificates import CertificateStore
from cli.revocations import Revocations
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from stack.pki import Authority, Certificate
from storage.certificates import load_invalid, revoke_certificates, store_certificate
from storage.database import connect
from storage.devices import Credential, delete_device, disable_device, enable_device, register_devices
from tests.broker.clients import ALLOWED, NOT_AUTHORIZED, Client
from tests.broker.conftest import SECRET, Broker, started_with
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

NOW = dt.datetime.now(dt.UTC)
_names = (f"lamp-{number}" for number in itertools.count(1))


def port_of(broker: Broker) -> int:
    assert broker.options.secure is not None
    assert broker.options.secure.certificates_port is not None
    return broker.options.secure.certificates_port


def trust(broker: Broker, file: pathlib.Path | None) -> ssl.SSLContext:
    """Return how one connects who shows what is in a file."""
    context = ssl.create_default_context(cafile=broker.store.authority_file)
    if file is not None:
        context.load_cert_chain(file)
    return context


@contextlib.contextmanager
def showing(
    broker: Broker, file: pathlib.Path | None, client_id: str, secret: str | None = None
) -> Iterator[Client]:
    """Lend a client that shows what is in a file, if anything, and has been let in, or not."""
    client = Client(client_id, client_id if secret else None, secret)
    client.client.tls_set_context(trust(broker, file))
    try:
        yield client
    finally:
        client.close()


def is_let_in(broker: Broker, file: pathlib.Path | None, client_id: str, secret: str | None = None) -> bool:
    """Return whether the broker lets one in."""
    with showing(broker, file, client_id, secret) as client:
        try:
            client.client.connect("127.0.0.1", port_of(broker))
        except OSError:
            return False
        client.client.loop_start()
        # With TLS 1.3 who shows no good certificate hears of it after the handshake.
        while True:
            if not client.entered.empty():
                return client.entered.get() == ALLOWED
            if client.left.wait(0.01):
                return False


async def until(*, is_in: bool, broker: Broker, file: pathlib.Path, device: str) -> None:
    """Wait until the broker lets one in, or no more."""
    async with asyncio.timeout(10):
        while await asyncio.to_thread(is_let_in, broker, file, device) != is_in:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)


def certificate(broker: Broker, device: str) -> pathlib.Path:
    return broker.store.keep_client(device, broker.store.issue_client(device, NOW))


async def test_a_certificate_lets_its_device_in_without_a_secret_and_to_its_own_topics(
    broker: Broker,
) -> None:
    await started_with(broker, "air-1", "air-2")
    with showing(broker, certificate(broker, "air-1"), "air-1") as device:
        assert device.connect(port_of(broker)) == ALLOWED
        assert device.publish("alatau/v1/air-1/telemetry", b'{"pm2_5": 1}') == ALLOWED
        assert device.publish("alatau/v1/air-2/telemetry", b'{"pm2_5": 1}') == NOT_AUTHORIZED
        assert device.publish("$CONTROL/dynamic-security/v1", b"{}") == NOT_AUTHORIZED
        assert device.subscribe("$share/alatau-ingest/alatau/v1/+/telemetry") == NOT_AUTHORIZED


async def test_whatever_else_it_says_it_is_whom_its_certificate_names(broker: Broker) -> None:
    await started_with(broker, "air-1", "air-2")
    with broker.connected("air-2") as other:
        with showing(broker, certificate(broker, "air-1"), "air-2", SECRET) as device:
            assert device.connect(port_of(broker)) == ALLOWED
            assert device.publish("alatau/v1/air-2/telemetry", b'{"pm2_5": 1}') == NOT_AUTHORIZED
            assert device.publish("alatau/v1/air-1/telemetry", b'{"pm2_5": 1}') == ALLOWED
        assert not other.left.is_set()


async def test_who_shows_none_or_that_of_somebody_else_stays_out(
    broker: Broker, tmp_path: pathlib.Path
) -> None:
    await started_with(broker, "air-1")
    stranger = CertificateStore(tmp_path)
    stranger.keep_client("air-1", stranger.issue_client("air-1", NOW))
    authority = broker.store.ensure_authority(NOW)
    (tmp_path / "expired.pem").write_bytes(authority.issue_client("air-1", NOW - dt.timedelta(days=400)))
    (tmp_path / "early.pem").write_bytes(authority.issue_client("air-1", NOW + dt.timedelta(days=2)))
    assert is_let_in(broker, certificate(broker, "air-1"), "air-1")
    assert not is_let_in(broker, None, "air-1", SECRET)  # the right secret, at the wrong port
    assert not is_let_in(broker, stranger.client_file("air-1"), "air-1")
    assert not is_let_in(broker, tmp_path / "expired.pem", "air-1")
    assert not is_let_in(broker, tmp_path / "early.pem", "air-1")
    # A server's certificate is none of a client.
    assert not is_let_in(broker, broker.store.server_file, "air-1")


async def test_a_revoked_certificate_is_refused_and_the_others_are_not(broker: Broker) -> None:
    await started_with(broker, "air-1", "air-2")
    first, other = (certificate(broker, device) for device in ("air-1", "air-2"))
    authority = broker.store.ensure_authority(NOW)
    serial = Certificate(first.read_bytes()).serial
    try:
        write_trust(broker.options, authority.certificate, authority.revocations([serial], NOW))
        broker.server.reload()
        await until(is_in=False, broker=broker, file=first, device="air-1")
        assert is_let_in(broker, other, "air-2")
    finally:
        write_trust(broker.options, authority.certificate, authority.revocations([], NOW))
        broker.server.reload()


# -- what the table says, and how soon the broker does it ------------------------------------------


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, []) as city:
        yield city


@pytest.fixture
async def lamp(broker: Broker, city: City) -> AsyncIterator[str]:
    """A device that is registered, known to the broker, and has a certificate; what is revoked is compared."""
    authority: Authority = broker.store.ensure_authority(NOW)
    name = next(_names)

    def take_up(serials: Collection[str]) -> None:
        revocations = authority.revocations(serials, dt.datetime.now(dt.UTC))
        write_trust(broker.options, authority.certificate, revocations)
        broker.server.reload()

    spec, credential = DeviceSpec(name, "noise", "gate"), Credential(b"salt", b"hash", 101)
    await register_devices(city.owner, [spec], city.catalogue, {name: credential})
    await started_with(broker, name)
    issued = Certificate(certificate(broker, name).read_bytes())
    await store_certificate(city.owner, name, issued.serial, issued.fingerprint, issued.expires)
    told: list[str] = []
    url = city.database.owner_url
    known = await load_invalid(city.owner)
    take_up(known)
    revocations = Revocations(
        lambda: connect(url, application="test"), broker.admin, known, take_up, told.append
    )
    watch = asyncio.create_task(revocations.watch())
    yield name
    watch.cancel()
    await asyncio.wait([watch])
    assert told == []


@pytest.mark.parametrize("act", ["revoke", "disable", "delete"])
async def test_who_is_let_in_no_more_is_thrown_out_and_stays_out(
    broker: Broker, city: City, lamp: str, act: str
) -> None:
    file = broker.store.client_file(lamp)
    with showing(broker, file, lamp) as device:
        assert device.connect(port_of(broker)) == ALLOWED
        async with city.owner.transaction():
            match act:
                case "revoke":
                    assert [one.device for one in await revoke_certificates(city.owner, lamp)] == [lamp]
                case "disable":
                    await disable_device(city.owner, lamp)
                case "delete":
                    assert await delete_device(city.owner, lamp)
                    await broker.admin.delete_device(lamp)
        assert await asyncio.to_thread(device.left.wait, 10)
    await until(is_in=False, broker=broker, file=file, device=lamp)


async def test_a_device_that_is_enabled_again_is_let_in_with_the_certificate_that_it_has(
    broker: Broker, city: City, lamp: str
) -> None:
    file = broker.store.client_file(lamp)
    with showing(broker, file, lamp) as device:
        assert device.connect(port_of(broker)) == ALLOWED
        await disable_device(city.owner, lamp)
        assert await asyncio.to_thread(device.left.wait, 10)
    await enable_device(city.owner, lamp)
    await until(is_in=True, broker=broker, file=file, device=lamp)
