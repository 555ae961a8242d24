"""What Mosquitto is told of where it listens."""

from __future__ import annotations

import pathlib

import orjson

from broker.accounts import Service, dynamic_security_file
from broker.config import BrokerOptions, SecureListener, render_config, write_certificate
from broker.secrets import hash_secret
from sensors.topics import Topics
from storage.devices import Credential

OPTIONS = BrokerOptions(1883, pathlib.Path("/broker"), pathlib.Path("/plugin.so"))


def listeners(options: BrokerOptions) -> list[list[str]]:
    """Return the lines of each listener, up to where those of all of them begin."""
    own = render_config(options).partition("allow_anonymous")[0]
    return [block.split("\n") for block in own.split("\nlistener ")[1:]]


def test_plain_text_is_on_the_loopback_address_whatever_is_set() -> None:
    for address in ("127.0.0.1", "0.0.0.0", "192.0.2.1", "::"):  # noqa: S104 - as a setting
        options = BrokerOptions(1883, OPTIONS.data_dir, OPTIONS.plugin, SecureListener(8883, address))
        plain, secure = listeners(options)
        assert plain[0] == "1883 127.0.0.1"
        assert secure[0] == f"8883 {address}"
        assert {"tls_version tlsv1.2", "certfile /broker/server.pem", "keyfile /broker/server.pem"} <= set(
            secure
        )
    assert [lines[0] for lines in listeners(OPTIONS)] == ["1883 127.0.0.1"]


def test_a_certificate_is_replaced_and_for_its_owner_only(tmp_path: pathlib.Path) -> None:
    options = BrokerOptions(1883, tmp_path, OPTIONS.plugin)
    for content in (b"one", b"two"):
        write_certificate(options, content)
        assert options.server_file.read_bytes() == content
        assert options.server_file.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["server.pem"]


def test_accounts_are_written_in_the_order_that_the_broker_loads_at_once() -> None:
    """In rising order its start takes the square of their number."""
    secret = hash_secret("secret")
    credential = Credential(secret.salt, secret.hash, secret.iterations)
    devices = [(name, credential) for name in ("b", "a", "ä", "c", "B", "a~2")]
    document = orjson.loads(dynamic_security_file(Topics(), (), dict.fromkeys(Service, secret), devices))
    names = [client["username"].encode() for client in document["clients"]]
    assert names == sorted(names, reverse=True)
    assert {name for name, _ in devices} < {client["username"] for client in document["clients"]}
