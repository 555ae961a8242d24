"""``pki device|revoke|list|revocations``: certificates for registered devices only, and on record."""

from __future__ import annotations

import pathlib
import stat
from collections.abc import AsyncIterator

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from cli.local import LocalStack
from storage.audit import list_events
from storage.database import connect
from tests.cli.command import Alatau
from tests.conftest import Database

pytestmark = pytest.mark.servers


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database.owner_url, application="test")
    yield connection
    await connection.close()


def add(telling: Alatau, device: str) -> None:
    assert telling("device", "add", device, "--kind", "street_light", "--district", "golden").code == 0


def issue(alatau: Alatau, device: str, *more: str) -> pathlib.Path:
    result = alatau("pki", "device", device, *more)
    assert (result.code, result.errors) == (0, "")
    return pathlib.Path(result.out.strip())


def serial_of(path: pathlib.Path) -> str:
    return f"{x509.load_pem_x509_certificate(path.read_bytes()).serial_number:x}"


def request_for(path: pathlib.Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> pathlib.Path:
    """Write a signing request that asks for a service's name."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alatau-admin")])
    request = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    path.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    return path


async def test_a_certificate_is_its_device_s_until_it_is_revoked(
    telling: Alatau, owner: asyncpg.Connection
) -> None:
    add(telling, "lamp-c1")
    path = issue(telling, "lamp-c1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=lamp-c1"
    assert b"PRIVATE KEY" in path.read_bytes()
    assert " valid" in telling("pki", "list", "lamp-c1").out
    assert telling("device", "disable", "lamp-c1").code == 0
    assert " kept out" in telling("pki", "list", "lamp-c1").out
    assert telling("device", "enable", "lamp-c1").code == 0
    assert telling("pki", "revoke", "lamp-c1").out == f"lamp-c1: {serial_of(path)} is revoked"
    assert " revoked" in telling("pki", "list", "lamp-c1").out
    assert telling("pki", "revoke", "lamp-c1").code == 1
    acts = [
        (one.event.action, one.event.detail)
        for one in await list_events(owner)
        if one.event.subject == "lamp-c1"
    ]
    for action in ("issue certificate", "revoke certificate"):
        assert (action, {"serial": serial_of(path)}) in acts


def test_the_list_for_a_broker_has_what_is_valid_no_more(telling: Alatau, tmp_path: pathlib.Path) -> None:
    for device in ("lamp-c2", "lamp-c3", "lamp-c4"):
        add(telling, device)
    revoked, deleted, valid = (
        serial_of(issue(telling, device)) for device in ("lamp-c2", "lamp-c3", "lamp-c4")
    )
    assert telling("pki", "revoke", revoked).code == 0
    assert telling("device", "delete", "lamp-c3").code == 0
    path = tmp_path / "revoked.pem"
    assert telling("pki", "revocations", "-o", str(path)).code == 0
    found = {f"{one.serial_number:x}" for one in x509.load_pem_x509_crl(path.read_bytes())}
    assert {revoked, deleted} <= found
    assert valid not in found


def test_of_a_signing_request_only_the_key_is_taken(telling: Alatau, tmp_path: pathlib.Path) -> None:
    add(telling, "lamp-c5")
    key = ec.generate_private_key(ec.SECP256R1())
    path = issue(telling, "lamp-c5", "--csr", str(request_for(tmp_path / "csr", key)))
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=lamp-c5"
    assert certificate.public_key() == key.public_key()
    assert b"PRIVATE" not in path.read_bytes()


def test_what_is_no_good_signing_request_is_refused(telling: Alatau, tmp_path: pathlib.Path) -> None:
    add(telling, "lamp-c6")
    weak = request_for(tmp_path / "weak", rsa.generate_private_key(65537, 1024))  # noqa: S505 - what is refused
    other = tmp_path / "other"
    other.write_text("nothing")
    for path, why in ((weak, "too weak"), (other, "can't be read"), (tmp_path / "none", "No such file")):
        result = telling("pki", "device", "lamp-c6", "--csr", str(path))
        assert result.code == 1
        assert why in result.errors
    assert " valid" not in telling("pki", "list", "lamp-c6").out


def test_who_is_not_registered_or_disabled_gets_none(telling: Alatau) -> None:
    assert "no device lamp-c7 is registered" in telling("pki", "device", "lamp-c7").errors
    add(telling, "lamp-c7")
    telling("device", "disable", "lamp-c7")
    assert "alatau device enable lamp-c7" in telling("pki", "device", "lamp-c7").errors


async def test_a_device_without_a_secret_gets_an_account_at_the_broker(
    telling: Alatau, alatau: Alatau, owner: asyncpg.Connection, local_stack: LocalStack
) -> None:
    add(telling, "lamp-c8")
    await owner.execute(
        "DELETE FROM alatau.device_credential WHERE device_id = (SELECT device_id FROM alatau.device WHERE id = $1)",
        "lamp-c8",
    )
    async with local_stack.admin as admin:
        await admin.delete_device("lamp-c8")
        assert "ALATAU_BROKER_ADMIN_PASSWORD" in alatau("pki", "device", "lamp-c8").errors
        issue(telling, "lamp-c8")
        assert "lamp-c8" in [account.username for account in await admin.list_devices()]


def test_a_device_that_is_called_as_the_number_of_a_certificate_takes_nothing_from_its_owner(
    telling: Alatau,
) -> None:
    add(telling, "lamp-c9")
    serial = serial_of(issue(telling, "lamp-c9"))
    add(telling, serial)
    other = serial_of(issue(telling, serial))
    assert telling("pki", "revoke", serial).out == f"{serial}: {other} is revoked"
    assert " valid" in telling("pki", "list", "lamp-c9").out
