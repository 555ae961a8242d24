"""A certificate whose files change: who shall use it is told, and a bad one is left aside."""

from __future__ import annotations

import datetime as dt
import pathlib

import pytest

from cli.certificates import CertificateStore, ServerCertificate
from cli.renewal import Renewal

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def store(tmp_path: pathlib.Path) -> CertificateStore:
    store = CertificateStore(tmp_path)
    store.ensure_server([], NOW)
    return store


def supplied(store: CertificateStore) -> ServerCertificate:
    """Return a certificate of two files, as others make them."""
    files = [store.directory / name for name in ("fullchain.pem", "privkey.pem")]
    for file in files:
        file.write_bytes(store.server_file.read_bytes())
    return ServerCertificate(*files)


def test_what_has_not_changed_is_not_taken_up(store: CertificateStore) -> None:
    used: list[bytes] = []
    certificate = supplied(store)
    renewal = Renewal(certificate, lambda: used.append(certificate.read(NOW)), used.append)  # type: ignore[arg-type]
    renewal.look()
    assert used == []


def test_files_that_are_replaced_one_after_the_other_are_used_when_both_are_there(
    store: CertificateStore,
) -> None:
    used: list[bytes] = []
    said: list[str] = []
    certificate = supplied(store)
    renewal = Renewal(certificate, lambda: used.append(certificate.read(NOW)), said.append)
    assert store.ensure_server(["renewed.city"], NOW)
    renewed = store.server_file.read_bytes()

    certificate.certificate_file.write_bytes(renewed)
    renewal.look()
    renewal.look()
    assert used == []
    assert len(said) == 1
    assert "the one before stays" in said[0]
    assert "do not belong together" in said[0]

    certificate.key_file.write_bytes(renewed)
    renewal.look()
    renewal.look()
    assert used == [certificate.read(NOW)]
    assert said[1:] == ["the new certificate is in use"]


def test_a_file_that_is_gone_is_told_and_taken_up_when_it_is_back(store: CertificateStore) -> None:
    used: list[bytes] = []
    said: list[str] = []
    certificate = supplied(store)
    renewal = Renewal(certificate, lambda: used.append(certificate.read(NOW)), said.append)
    key = certificate.key_file.read_bytes()
    certificate.key_file.unlink()
    renewal.look()
    assert "privkey.pem: No such file or directory; give" in said[0]
    certificate.key_file.write_bytes(key)
    renewal.look()
    assert len(used) == 1
