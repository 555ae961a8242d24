"""Mosquitto's configuration: the limits that lose nothing, and no anonymous access."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from broker.accounts import DeviceSecret, Service, access_file, dynamic_security_file
from broker.secrets import HashedSecret
from broker.speech import Speech
from sensors.topics import Topics

# The most that every version takes: 2.1 refuses more.
_QUEUED_BYTES = 2**31 - 1

MOST_PACKET_BYTES = 262_144

# Plain text is for this machine; nothing can be set that makes it leave it.
_LOOPBACK = "127.0.0.1"


@dataclasses.dataclass(frozen=True, slots=True)
class SecureListener:
    """Where the broker speaks TLS 1.2 or later: at an address of a network, too."""

    port: int
    address: str = _LOOPBACK
    # Where devices show a certificate in the place of a secret; None where they can't.
    certificates_port: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class BrokerOptions:
    """Where the broker listens, in plain text on ``port`` of the loopback address, and keeps its files."""

    port: int
    data_dir: pathlib.Path
    plugin: pathlib.Path
    secure: SecureListener | None = None
    autosave_seconds: int = 30
    max_packet_bytes: int = MOST_PACKET_BYTES
    max_connections: int = (
        120_000  # of each listener: a fleet of 100,000, and what has not noticed that it broke
    )
    # Where the broker sees ``data_dir``, when that is elsewhere than here: in a container.
    seen_as: pathlib.PurePosixPath | None = None

    @property
    def config_file(self) -> pathlib.Path:
        """Where the configuration goes."""
        return self.data_dir / "mosquitto.conf"

    @property
    def security_file(self) -> pathlib.Path:
        """Where the accounts go; the plugin writes it anew when one changes."""
        return self.data_dir / "dynamic-security.json"

    @property
    def access_file(self) -> pathlib.Path:
        """Where the pattern rules of devices go."""
        return self.data_dir / "devices.acl"

    @property
    def server_file(self) -> pathlib.Path:
        """Where key and certificate of ``secure`` go, one file, so that both are replaced together."""
        return self.data_dir / "server.pem"

    @property
    def authority_file(self) -> pathlib.Path:
        """Where the certificate goes of the authority that signs those of devices."""
        return self.data_dir / "devices-ca.pem"

    @property
    def revocations_file(self) -> pathlib.Path:
        """Where the list goes of certificates of devices that are no longer valid."""
        return self.data_dir / "revoked.pem"


def render_config(options: BrokerOptions) -> str:
    """Return the text of mosquitto.conf."""
    seen = options.seen_as or options.data_dir
    return f"""\
# Written by Alatau at each start; change the settings, not this file.
listener {options.port} {_LOOPBACK}
max_connections {options.max_connections}
{_secure_listeners(options.secure, options, seen) if options.secure else ""}
allow_anonymous false
plugin {options.plugin}
plugin_opt_config_file {seen / options.security_file.name}
acl_file {seen / options.access_file.name}

# What the broker has accepted stays until ingest has committed it. The defaults (20 in flight, 1000 queued,
# the rest dropped) lose data. In flight, 0 is no limit; queued, a large number is, because at 0 Mosquitto
# 2.0.21 disconnects a client whose publish it denies. The bytes bound the memory.
max_inflight_messages 0
max_queued_messages 1000000000
max_queued_bytes {_QUEUED_BYTES}
max_packet_size {options.max_packet_bytes}
persistent_client_expiration 7d

# After a crash of the broker, what was accepted since the last save and not handed over is gone: docs/delivery.md.
# Not more often: a save takes as long as the queue is large, and while one takes longer than the interval, Mosquitto
# does nothing else.
persistence true
persistence_location {seen}/
autosave_interval {options.autosave_seconds}

# How old, at most, its count of held messages is that ingest reads.
sys_interval 2

# Small packets, many of them: the system may join those that follow each other at once. Each sent by itself costs
# the broker a fifth more of its time; what it costs to wait is a few hundredths of a second at most.
set_tcp_nodelay false
log_dest stdout
log_type error
log_type warning
log_type notice
# The API counts whom the broker sends away; it says so among the messages about connections, and nowhere else.
log_dest topic
connection_messages true
"""


def _secure_listeners(secure: SecureListener, options: BrokerOptions, seen: pathlib.PurePath) -> str:
    text = _secure_listener(secure.port, secure.address, options, seen)
    if secure.certificates_port is None:
        return text
    # No plugin is asked about who shows a certificate: only the list of revoked ones keeps a device out. The name in it
    # is user name and client id, whatever else the device says: decision 0017.
    return f"""{text}
{_secure_listener(secure.certificates_port, secure.address, options, seen)}\
cafile {seen / options.authority_file.name}
crlfile {seen / options.revocations_file.name}
require_certificate true
use_identity_as_username true
use_username_as_clientid true
"""


def _secure_listener(port: int, address: str, options: BrokerOptions, seen: pathlib.PurePath) -> str:
    file = seen / options.server_file.name
    return f"""
listener {port} {address}
max_connections {options.max_connections}
tls_version tlsv1.2
certfile {file}
keyfile {file}
"""


def write_certificate(options: BrokerOptions, pem: bytes) -> None:
    """Write key and certificate of the secure listener, which the broker reads at its start and on SIGHUP."""
    _replace_private(options.server_file, pem)


def write_trust(options: BrokerOptions, authority: bytes, revocations: bytes) -> None:
    """Write whose certificates of devices are trusted, and which no more; read at the start and on SIGHUP."""
    _replace_private(options.authority_file, authority)
    _replace_private(options.revocations_file, revocations)


def _replace_private(path: pathlib.Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    _write_private(new, content)
    new.replace(path)


def write_broker_files(
    options: BrokerOptions,
    topics: Topics,
    speeches: Sequence[Speech],
    services: Mapping[Service, HashedSecret],
    devices: Iterable[tuple[str, DeviceSecret]],
) -> None:
    """Write what Mosquitto reads at its start, from what we hold: configuration, rules, accounts.

    The device table is the truth; whatever the broker's own file said before is replaced.
    """
    options.data_dir.mkdir(parents=True, exist_ok=True)
    files = {
        options.config_file: render_config(options).encode(),
        options.access_file: access_file(topics, speeches).encode(),
        options.security_file: dynamic_security_file(topics, speeches, services, devices),
    }
    for path, content in files.items():
        _write_private(path, content)


def _write_private(path: pathlib.Path, content: bytes) -> None:
    # New, so that it is never readable by others, not even for a moment.
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
