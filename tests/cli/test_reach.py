"""The addresses that ``up`` gives to others, and what its parts are told of TLS."""

from __future__ import annotations

import datetime as dt
import pathlib
import socket
from typing import Any

import pytest

from cli.certificates import CertificateStore
from cli.reach import Reach
from cli.settings import Settings, SettingsError
from stack.addresses import reached_at
from stack.pki import Certificate

ALL = "0.0.0.0"  # noqa: S104 - as a setting


def reach(directory: pathlib.Path, broker: str | None = None, **settings: Any) -> Reach:
    return Reach(Settings(data_dir=directory, **settings), broker)


@pytest.fixture
def supplied(tmp_path: pathlib.Path) -> dict[str, Any]:
    """The settings of a certificate that another authority has made."""
    other = CertificateStore(tmp_path / "other")
    pem = other.ensure_authority(dt.datetime.now(dt.UTC)).issue_server(
        ["*.kz", "city.kz"], dt.datetime.now(dt.UTC)
    )
    (tmp_path / "city.pem").write_bytes(pem)
    return {"tls_certificate": tmp_path / "city.pem", "tls_key": tmp_path / "city.pem"}


def test_on_the_loopback_address_everything_is_as_plain_as_it_was(tmp_path: pathlib.Path) -> None:
    city = reach(tmp_path)
    assert city.mqtt_url == "mqtt://127.0.0.1:1883"
    assert city.api_url == "http://127.0.0.1:8000"
    assert city.mqtt_ca == tmp_path / "pki/ca.pem"
    assert city.api_ca is None
    assert "ALATAU_TLS_KEY" not in city.api_environment | city.ingest_environment
    assert city.secure is not None
    assert city.secure.listener.address == "127.0.0.1"


def test_a_network_is_given_addresses_of_tls_that_the_certificate_answers_to(tmp_path: pathlib.Path) -> None:
    city = reach(tmp_path, mqtt_address=ALL, api_host=ALL, ingest_http_host=ALL)
    here = reached_at(ALL)[0]
    assert city.ingest_environment["ALATAU_TLS_KEY"] == str(tmp_path / "pki/server.pem")
    assert city.mqtt_url == f"mqtts://{here}:8883"
    assert city.api_url == f"https://{here}:8000"
    assert city.mqtt_ca == city.api_ca == tmp_path / "pki/ca.pem"
    assert city.api_environment["ALATAU_MQTT_PUBLIC_URL"] == city.mqtt_url
    assert city.api_environment["ALATAU_TLS_KEY"] == str(tmp_path / "pki/server.pem")
    names = Certificate((tmp_path / "pki/server.pem").read_bytes()).names
    assert {here, "localhost", socket.gethostname()} <= set(names)


def test_an_address_of_ipv6_is_written_as_urls_have_it(tmp_path: pathlib.Path) -> None:
    city = reach(tmp_path, mqtt_address="2001:db8::1", api_host="2001:db8::1")
    assert city.mqtt_url == "mqtts://[2001:db8::1]:8883"
    assert city.api_url == "https://[2001:db8::1]:8000"


def test_behind_a_declared_proxy_the_api_is_plain(tmp_path: pathlib.Path) -> None:
    city = reach(tmp_path, api_host=ALL, api_proxy="192.0.2.1")
    assert not city.https
    assert city.api_url == "http://127.0.0.1:8000"


def test_a_supplied_certificate_is_that_of_both_and_the_authority_is_of_devices_alone(
    tmp_path: pathlib.Path, supplied: dict[str, Any]
) -> None:
    city = reach(tmp_path / "city", mqtt_address=ALL, **supplied)
    assert city.mqtt_url == "mqtts://city.kz:8883"
    assert city.api_url == "https://city.kz:8000"
    assert city.mqtt_ca is city.api_ca is None
    assert city.secure is not None
    assert city.secure.certificate.certificate_file == tmp_path / "city.pem"
    assert {path.name for path in (tmp_path / "city").rglob("*.*")} == {"ca.pem", "ca.key"}


def test_a_broker_elsewhere_is_told_as_it_is(tmp_path: pathlib.Path) -> None:
    city = reach(tmp_path, "mqtts://broker.kz", mqtt_ca=pathlib.Path("/ca.pem"))
    assert (city.mqtt_url, city.mqtt_ca, city.secure) == ("mqtts://broker.kz", pathlib.Path("/ca.pem"), None)


def test_a_supplied_certificate_that_is_of_no_use_keeps_up_from_starting(
    tmp_path: pathlib.Path, supplied: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError, match="go together; set both, or none"):
        reach(tmp_path, tls_key=supplied["tls_key"])
    with pytest.raises(
        SettingsError, match=r"nothing\.pem: No such file or directory; give files of ALATAU_TLS_C"
    ):
        reach(tmp_path, **{**supplied, "tls_key": tmp_path / "nothing.pem"})
    another = CertificateStore(tmp_path / "another")
    another.ensure_server([], dt.datetime.now(dt.UTC))
    with pytest.raises(
        SettingsError, match=r"city\.pem, .*server\.pem: .* do not belong together\. Give the key"
    ):
        reach(tmp_path, **{**supplied, "tls_key": another.server_file})
