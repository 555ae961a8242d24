"""``pki``: what is made, what is kept, and that no key is shown."""

from __future__ import annotations

import datetime as dt
import pathlib
import stat

import pytest

from cli.certificates import CertificateStore
from cli.settings import SettingsError
from stack.pki import LIFE, Certificate
from tests.cli.command import Alatau

NOW = dt.datetime.now(dt.UTC)


def place(alatau: Alatau) -> pathlib.Path:
    return pathlib.Path(alatau.settings["ALATAU_DATA_DIR"]) / "pki"


def test_keys_are_for_their_owner_only_and_never_printed(bare: Alatau) -> None:
    printed = ""
    for words in (["init"], ["server", "--name", "mqtt.city"], ["show"]):
        result = bare("pki", *words)
        assert result.code == 0, result.errors
        printed += result.out + result.errors
    assert "PRIVATE" not in printed
    assert "mqtt.city" in printed
    files = [path for path in place(bare).rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"ca.pem", "ca.key", "server.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_init_keeps_the_authority_that_is_there(bare: Alatau) -> None:
    bare("pki", "init")
    before = (place(bare) / "ca.pem").read_bytes()
    assert bare("pki", "init").code == 0
    assert (place(bare) / "ca.pem").read_bytes() == before


def test_a_lost_key_of_the_authority_is_not_replaced_in_silence(bare: Alatau) -> None:
    bare("pki", "init")
    (place(bare) / "ca.key").unlink()
    result = bare("pki", "server")
    assert result.code == 1
    assert "bring the key back" in result.errors


@pytest.mark.parametrize("device", ["alatau-admin", "telegraf", "../x", "a" * 65])
def test_what_can_not_be_a_device_gets_no_certificate(tmp_path: pathlib.Path, device: str) -> None:
    with pytest.raises(SettingsError, match="is no id that a device can have"):
        CertificateStore(tmp_path).issue_client(device, NOW)
    assert not list(tmp_path.glob("**/*.pem"))


def test_a_server_keeps_its_certificate_until_it_is_due_and_then_its_names(tmp_path: pathlib.Path) -> None:
    store = CertificateStore(tmp_path)
    assert store.ensure_server(["mqtt.city"], NOW)
    assert not store.ensure_server([], NOW + LIFE * 0.5)
    assert store.ensure_server([], NOW + LIFE * 0.7)
    certificate = Certificate(store.server_file.read_bytes())
    assert "mqtt.city" in certificate.names
    assert certificate.expires > NOW + LIFE


def test_a_new_name_or_a_new_authority_makes_a_new_certificate(tmp_path: pathlib.Path) -> None:
    store = CertificateStore(tmp_path)
    store.ensure_server([], NOW)
    assert store.ensure_server(["api.city"], NOW)
    (tmp_path / "ca.pem").unlink()
    assert store.ensure_server([], NOW)
    assert not store.ensure_server(["api.city"], NOW)
