"""The certificate authority, as OpenSSL judges it by its strictest rules."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from stack.errors import StackError
from stack.pki import LIFE, Authority, Certificate, server_pem

NOW = dt.datetime.now(dt.UTC)


def shake_hands(
    trusted: bytes, server: bytes, name: str, directory: Path, client: bytes | None = None
) -> None:
    """Let a client that trusts ``trusted`` meet a server; with ``client``, the server demands its certificate."""
    (directory / "server.pem").write_bytes(server)
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(directory / "server.pem")
    asks = ssl.create_default_context(cadata=trusted.decode())
    asks.verify_flags |= ssl.VERIFY_X509_STRICT
    if client is not None:
        (directory / "client.pem").write_bytes(client)
        asks.load_cert_chain(directory / "client.pem")
        serves.verify_mode = ssl.CERT_REQUIRED
        serves.load_verify_locations(cadata=trusted.decode())
        serves.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()
    failed: list[Exception] = []

    def answer() -> None:
        try:
            with serves.wrap_socket(theirs, server_side=True) as there:
                there.sendall(b".")
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with asks.wrap_socket(ours, server_hostname=name) as here:
            here.recv(1)
    finally:
        thread.join()
    if failed:
        raise failed[0]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("test", NOW)


@pytest.mark.parametrize("name", ["mqtt.city", "127.0.0.1", "::1"])
def test_a_server_is_trusted_by_each_of_its_names(authority: Authority, tmp_path: Path, name: str) -> None:
    server = authority.issue_server(["mqtt.city", "127.0.0.1", "::1"], NOW)
    shake_hands(authority.certificate, server, name, tmp_path)


def test_a_server_is_not_trusted_by_another_name(authority: Authority, tmp_path: Path) -> None:
    server = authority.issue_server(["mqtt.city"], NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake_hands(authority.certificate, server, "api.city", tmp_path)


def test_a_server_of_another_authority_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    server = Authority.create("test", NOW).issue_server(["mqtt.city"], NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(authority.certificate, server, "mqtt.city", tmp_path)


def test_a_client_is_a_client_and_no_server(authority: Authority, tmp_path: Path) -> None:
    server, client = authority.issue_server(["mqtt.city"], NOW), authority.issue_client("mqtt.city", NOW)
    shake_hands(authority.certificate, server, "mqtt.city", tmp_path, client)
    with pytest.raises(ssl.SSLError):
        shake_hands(authority.certificate, client, "mqtt.city", tmp_path)
    with pytest.raises(ssl.SSLError):
        shake_hands(authority.certificate, server, "mqtt.city", tmp_path, server)


def test_an_authority_that_was_read_again_is_the_same(authority: Authority, tmp_path: Path) -> None:
    again = Authority.load(authority.certificate, authority.key)
    shake_hands(authority.certificate, again.issue_server(["mqtt.city"], NOW), "mqtt.city", tmp_path)


def test_damaged_and_mixed_up_files_say_what_to_do(authority: Authority) -> None:
    other = Authority.create("test", NOW)
    for certificate, key in (
        (other.certificate, authority.key),
        (b"", authority.key),
        (other.certificate, b""),
    ):
        with pytest.raises(StackError, match="Restore them"):
            Authority.load(certificate, key)


def test_a_certificate_is_due_when_less_than_a_third_of_its_life_is_left(authority: Authority) -> None:
    certificate = Certificate(authority.issue_server(["mqtt.city"], NOW))
    assert not certificate.is_due(NOW + LIFE * 0.66)
    assert certificate.is_due(NOW + LIFE * 0.67)


def test_a_server_s_files_are_joined_to_what_a_server_can_load(tmp_path: Path) -> None:
    authority = Authority.create("test", NOW)
    both = authority.issue_server(["localhost"], NOW)
    joined = server_pem(both + authority.certificate, both, NOW)
    shake_hands(authority.certificate, joined, "localhost", tmp_path)
    assert joined.count(b"BEGIN CERTIFICATE") == 2
    assert joined.count(b"BEGIN PRIVATE KEY") == 1


def test_what_a_server_can_not_use_is_refused_with_what_to_do() -> None:
    authority = Authority.create("test", NOW)
    pem, other = (authority.issue_server(["localhost"], NOW) for _ in range(2))
    key = serialization.load_pem_private_key(pem, password=None)
    secret = serialization.BestAvailableEncryption(b"secret")
    encrypted = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
    for certificate, private, time, why in (
        (b"", pem, NOW, "The certificate is not PEM"),
        (pem, authority.certificate, NOW, "not a private key"),
        (pem, encrypted, NOW, "encrypted.*Decrypt it"),
        (pem, other, NOW, "do not belong together.*Give the key"),
        (pem, pem, NOW + LIFE, "is valid from .* only.*Renew it"),
        (pem, pem, NOW - LIFE, "is valid from .* only.*set the clock right"),
    ):
        with pytest.raises(StackError, match=f"(?s){why}"):
            server_pem(certificate, private, time)
