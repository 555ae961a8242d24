"""``broker-files``: what it writes for a broker elsewhere, and what it needs."""

from __future__ import annotations

import pathlib
import stat

import orjson
import pytest

from broker.accounts import Service
from tests.cli.command import Alatau
from tests.conftest import Database

pytestmark = pytest.mark.servers

ACCOUNTS = ("ADMIN", "INGEST", "SIMULATOR", "CLAIMS", "ALERTS", "LISTENER")
PASSWORDS = {f"ALATAU_BROKER_{name}_PASSWORD": name for name in ACCOUNTS}


@pytest.fixture
def alatau(database: Database, bare: Alatau) -> Alatau:
    return Alatau({**bare.settings, "ALATAU_DATABASE_URL": database.owner_url, **PASSWORDS})


def test_paths_are_those_that_the_broker_sees(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    directory = tmp_path / "broker"
    result = alatau("broker-files", str(directory), "--seen-as", "/mosquitto/data", "--port", "1999")
    assert result.code == 0, result.errors
    text = (directory / "mosquitto.conf").read_text()
    assert str(tmp_path) not in text
    for line in (
        "listener 1999 127.0.0.1",
        "listener 8883 0.0.0.0",
        "certfile /mosquitto/data/server.pem",
        "allow_anonymous false",
        "plugin /usr/lib/mosquitto_dynamic_security.so",
        "plugin_opt_config_file /mosquitto/data/dynamic-security.json",
        "acl_file /mosquitto/data/devices.acl",
        "persistence_location /mosquitto/data/",
    ):
        assert line in text.splitlines()


def test_accounts_are_the_services_and_every_device_with_a_secret(
    alatau: Alatau, tmp_path: pathlib.Path
) -> None:
    alatau(
        "device",
        "add",
        "air-1",
        "--kind",
        "air_quality",
        "--district",
        "gate",
        **dict.fromkeys(PASSWORDS, ""),
    )
    alatau("device", "add", "--simulated", "4")
    assert "1 devices with a secret" in alatau("broker-files", str(tmp_path)).out
    file = tmp_path / "dynamic-security.json"
    names = {client["username"] for client in orjson.loads(file.read_bytes())["clients"]}
    assert names == {*Service, "air-1"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_missing_passwords_are_named(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    result = alatau("broker-files", str(tmp_path), ALATAU_BROKER_INGEST_PASSWORD="")
    assert result.code == 1
    assert "set ALATAU_BROKER_INGEST_PASSWORD:" in result.errors


def test_a_directory_that_can_not_be_written_is_named(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    result = alatau("broker-files", str(tmp_path / "file"))
    assert result.code == 1
    assert f"{tmp_path}/file: " in result.errors
    assert "Traceback" not in result.errors
