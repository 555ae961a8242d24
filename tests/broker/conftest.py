"""A broker of the module's own, so that nothing else has accounts at it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import itertools
import pathlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from broker.accounts import Service
from broker.admin import BrokerAdmin
from broker.config import BrokerOptions, SecureListener, write_broker_files, write_certificate, write_trust
from broker.secrets import hash_secret
from cli.certificates import CertificateStore
from cli.speeches import SPEECHES
from sensors.topics import Topics
from stack.accounts import server_account
from stack.mosquitto import MosquittoServer
from stack.ownership import claim
from stack.ports import free_port
from stack.servers import Servers
from storage.devices import Credential
from tests.broker.clients import Client, connected

SECRET = "secret"
_numbers = itertools.count(1)


@dataclasses.dataclass(frozen=True, slots=True)
class Broker:
    """A running Mosquitto, each account of which has the same secret."""

    server: MosquittoServer
    options: BrokerOptions
    admin: BrokerAdmin
    store: CertificateStore

    @property
    def port(self) -> int:
        return self.options.port

    def connected(self, device: str, **more: Any) -> contextlib.AbstractContextManager[Client]:
        """Lend a device's connection."""
        return connected(self.port, device, SECRET, **more)


def write_files(options: BrokerOptions, devices: Iterable[str] = ()) -> None:
    """Write what the broker reads at its start."""
    hashed = hash_secret(SECRET)
    credential = Credential(hashed.salt, hashed.hash, hashed.iterations)
    accounts = [(device, credential) for device in devices]
    write_broker_files(options, Topics(), SPEECHES, dict.fromkeys(Service, hashed), accounts)


@pytest.fixture(scope="module")
async def broker(servers: Servers, directory_for_servers: pathlib.Path) -> AsyncIterator[Broker]:
    directory = directory_for_servers / f"broker-{next(_numbers)}"
    port = free_port()
    options = BrokerOptions(
        port=port,
        data_dir=directory / "broker",
        plugin=servers.dynamic_security_plugin,
        secure=SecureListener(free_port(), certificates_port=free_port()),
    )
    await asyncio.to_thread(directory.mkdir)
    claim(options.data_dir, server_account())
    write_files(options)
    store = CertificateStore(directory / "pki")
    store.ensure_server([], dt.datetime.now(dt.UTC))
    write_certificate(options, store.server_file.read_bytes())
    authority = store.ensure_authority(dt.datetime.now(dt.UTC))
    write_trust(options, authority.certificate, authority.revocations([], dt.datetime.now(dt.UTC)))
    async with (
        MosquittoServer(servers, options.config_file, port, directory / "log") as server,
        BrokerAdmin(f"mqtt://127.0.0.1:{port}", Service.ADMIN, SECRET) as admin,
    ):
        yield Broker(server, options, admin, store)


async def started_with(broker: Broker, *devices: str) -> None:
    """Start the broker again, with these devices alone."""
    await asyncio.to_thread(write_files, broker.options, devices)
    before = await broker.admin.connected(0)
    await broker.server.restart()
    await broker.admin.connected(before)
