"""What Mosquitto is told of where it listens."""

from __future__ import annotations

import pathlib

from broker.config import BrokerOptions, SecureListener, render_config, write_certificate

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
