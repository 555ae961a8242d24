"""The real servers: one TimescaleDB and one Mosquitto for the whole run, a database for each module."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import pathlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from cli.local import LocalStack, Ports, Secure
from sensors.catalogue import Catalogue, build_catalogue, builtin_file
from stack.ports import free_port
from stack.servers import Servers, ensure_servers
from storage.database import OWNER_ROLE, ROLES, connect, prepare_database

# How long an example takes says how busy the machine is; speed is shown by the benchmarks.
settings.register_profile("alatau", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("alatau")

_numbers = itertools.count(1)


@dataclasses.dataclass(frozen=True, slots=True)
class Database:
    """A migrated database with Alatau's catalogue, by role."""

    owner_url: str
    ingest_url: str
    api_url: str
    maintenance_url: str
    alerts_url: str
    reader_url: str


@pytest.fixture(scope="session")
def servers() -> Servers:
    return ensure_servers(os.environ)


@pytest.fixture(scope="session")
def directory_for_servers() -> Iterator[pathlib.Path]:
    """Everybody may enter it, which is not so of pytest's own temporary directories."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="alatau-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def broker_beside(
    shared: LocalStack, directory: pathlib.Path, name: str, secure: Secure | None = None
) -> LocalStack:
    """Return a broker of a test's own, not started, beside the database of all, which ``directory`` is of."""
    root = directory / name
    root.mkdir(exist_ok=True)
    root.chmod(0o755)
    shutil.copy(directory / "secrets.json", root)  # the roles' passwords are the database server's
    return LocalStack(shared.servers, root, Ports(shared.ports.database, free_port()), secure=secure)


@pytest.fixture(scope="session")
async def local_stack(servers: Servers, directory_for_servers: pathlib.Path) -> AsyncIterator[LocalStack]:
    """TimescaleDB and Mosquitto, running."""
    stack = LocalStack(
        servers,
        directory_for_servers,
        Ports(free_port(), free_port()),
        database_overrides={"shared_buffers": "256MB", "fsync": "off", "max_wal_size": "1GB"},
    )
    try:
        await stack.start_database()
        await stack.apply(builtin_file("alatau"), "alatau.toml")
        await stack.start_broker()
        yield stack
    finally:
        await stack.stop()


@pytest.fixture(scope="session")
async def template(local_stack: LocalStack) -> str:
    """The name of a database to copy, which takes a sixth of the time of making one."""
    name = "template_of_tests"
    await local_stack.create_database(name)
    await local_stack.apply(builtin_file("alatau"), "alatau.toml", name)
    async with superuser(local_stack) as connection:
        # Nobody can be connected to what is copied, the extension's own scheduler neither.
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1", name
        )
    return name


@contextlib.asynccontextmanager
async def superuser(stack: LocalStack) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(stack.postgres.superuser_url, application="test")
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def database(local_stack: LocalStack, template: str) -> Database:
    """A database of the module's own."""
    name = f"test_{next(_numbers)}"
    async with superuser(local_stack) as connection:
        await connection.execute(f"CREATE DATABASE {name} OWNER {OWNER_ROLE} TEMPLATE {template}")
    await prepare_database(local_stack.postgres.superuser_url, name, local_stack.secrets.roles)
    return Database(*(local_stack.database_url(role, name) for role in ROLES))


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The catalogue of Alatau City."""
    return build_catalogue(builtin_file("alatau"), "alatau.toml")
