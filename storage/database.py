"""Opening the database: roles, creation, pools, and which edition of TimescaleDB it is."""

from __future__ import annotations

import asyncio
import dataclasses
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg
import orjson

from storage.errors import PermanentError
from storage.migrations import HEAD

# Its name, where it is ours to give.
DATABASE = "alatau"

OWNER_ROLE = "alatau_owner"
INGEST_ROLE = "alatau_ingest"
API_ROLE = "alatau_api"
MAINTENANCE_ROLE = "alatau_maintenance"
ALERTS_ROLE = "alatau_alerts"
# Of dashboards that speak SQL themselves.
READER_ROLE = "alatau_reader"
ROLES = (OWNER_ROLE, INGEST_ROLE, API_ROLE, MAINTENANCE_ROLE, ALERTS_ROLE, READER_ROLE)
# What the API reads as for a key that has a scope; nobody logs in as it, and row-level security holds for it alone.
SCOPED_ROLE = "alatau_scoped"

_CONNECT_SECONDS = 10

# Before 2.18.1, ON CONFLICT lost rows on compressed chunks.
OLDEST_TIMESCALEDB = (2, 18, 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Edition:
    """What the database is: ``licence`` is ``apache`` or ``timescale`` (Community)."""

    postgresql: str
    timescaledb: str
    licence: str
    revision: str | None

    @property
    def is_current(self) -> bool:
        """Whether the fixed tables are at this code's revision."""
        return self.revision == HEAD


async def _prepare_connection(connection: asyncpg.Connection) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name,
            schema="pg_catalog",
            format="text",
            encoder=lambda value: orjson.dumps(value).decode(),
            decoder=orjson.loads,
        )


async def connect(url: str, *, application: str) -> asyncpg.Connection:
    """Open one connection, JSON decoded. Raises TimeoutError after ten seconds, and what the driver raises."""
    connection = None
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            connection = await asyncpg.connect(
                url, server_settings={"application_name": application}, timeout=_CONNECT_SECONDS
            )
            await _prepare_connection(connection)
    except BaseException as error:
        if connection is not None:
            connection.terminate()
        if isinstance(error, TimeoutError):
            raise TimeoutError(f"no connection to the database within {_CONNECT_SECONDS} s") from error
        raise
    return connection


async def connect_alone(url: str, *, application: str) -> asyncpg.Connection:
    """Open a connection, and end all others of its role and application; return when they are gone.

    Of a client that lost its power, or that a network forgot, the server hears nothing for hours; meanwhile its
    open transaction keeps the rows in it from everybody else, also from the one that came back to repeat it.
    """
    connection = await connect(url, application=application)
    try:
        await connection.fetchval(
            """
            SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
            WHERE pid <> pg_backend_pid() AND usename = current_user AND datname = current_database()
                  AND application_name = current_setting('application_name')
            """,
            timeout=10,
        )
    except BaseException:
        connection.terminate()
        raise
    return connection


async def open_pool(
    url: str,
    *,
    application: str,
    size: int,
    prepare: Callable[[asyncpg.Connection], Awaitable[object]],
    reset: Callable[[asyncpg.Connection], Awaitable[None]],
    settings: Mapping[str, str] | None = None,
) -> asyncpg.Pool:
    """Open a pool of at most ``size`` connections, JSON decoded; the first is made at once.

    ``prepare`` is awaited for each new connection.
    ``reset`` is awaited for each connection that is given back, when its transaction was ended and a query that was
    cancelled has come to its end; the connection is closed where it raises.
    """

    async def initialize(connection: asyncpg.Connection) -> None:
        await _prepare_connection(connection)
        await prepare(connection)

    pool: asyncpg.Pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        timeout=10,
        server_settings={"application_name": application, **(settings or {})},
        init=initialize,
        reset=reset,
    )
    return pool


async def client_port(connection: asyncpg.Connection) -> int | None:
    """Return our own port as the server sees it; None by a Unix socket."""
    port: int | None = await connection.fetchval("SELECT inet_client_port()")
    return port


async def allow_seconds(
    connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy[Any], seconds: float
) -> None:
    """Let each statement of the running transaction take so long, whatever the connection's own limit is."""
    await connection.execute(
        "SELECT set_config('statement_timeout', $1, true)", str(max(1, round(seconds * 1000)))
    )


def with_user(url: str, user: str, password: str, database: str | None = None) -> str:
    """Return the URL with another user, and another database if given."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    login = f"{urllib.parse.quote(user, safe='')}:{urllib.parse.quote(password, safe='')}"
    path = f"/{database}" if database else parts.path
    return parts._replace(netloc=f"{login}@{host}", path=path).geturl()


async def prepare_database(superuser_url: str, database: str, passwords: Mapping[str, str]) -> None:
    """Create what needs a superuser: the roles with their passwords, the database, the extension.

    Repeating it sets the passwords anew and changes nothing else.
    """
    connection = await connect(superuser_url, application="alatau-prepare")
    try:
        for role in ROLES:
            password = await _literal(connection, passwords[role])
            await _ensure_role(connection, role, f"LOGIN BYPASSRLS PASSWORD {password}")
        await _limit_reader(connection)
        await _ensure_role(connection, SCOPED_ROLE, "NOLOGIN NOBYPASSRLS")
        await connection.execute(f"GRANT {SCOPED_ROLE} TO {API_ROLE} WITH INHERIT FALSE, SET TRUE")
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", database):
            await connection.execute(f"CREATE DATABASE {_quote(database)} OWNER {OWNER_ROLE}")
    finally:
        await connection.close()
    parts = urllib.parse.urlsplit(superuser_url)
    connection = await connect(parts._replace(path=f"/{database}").geturl(), application="alatau-prepare")
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        await connection.execute(f"REVOKE ALL ON DATABASE {_quote(database)} FROM PUBLIC")
        services = ", ".join(role for role in ROLES if role != OWNER_ROLE)
        await connection.execute(f"GRANT CONNECT ON DATABASE {_quote(database)} TO {services}")
        # The staging tables of readings that meet a stored one are temporary.
        await connection.execute(f"GRANT TEMPORARY ON DATABASE {_quote(database)} TO {INGEST_ROLE}")
    finally:
        await connection.close()


async def _limit_reader(connection: asyncpg.Connection) -> None:
    # Whoever may use a dashboard may have it run any statement: none takes long, or the connections of others.
    await connection.execute(f"ALTER ROLE {READER_ROLE} CONNECTION LIMIT 20")
    for setting in (
        "default_transaction_read_only = on",
        "statement_timeout = '30s'",
        "idle_in_transaction_session_timeout = '30s'",
    ):
        await connection.execute(f"ALTER ROLE {READER_ROLE} SET {setting}")


async def _ensure_role(connection: asyncpg.Connection, role: str, attributes: str) -> None:
    verb = (
        "ALTER"
        if await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
        else "CREATE"
    )
    await connection.execute(f"{verb} ROLE {_quote(role)} {attributes}")


async def _literal(connection: asyncpg.Connection, text: str) -> str:
    # DDL takes no parameters, so the server itself quotes the password.
    return str(await connection.fetchval("SELECT quote_literal($1::text)", text))


def _quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


async def read_edition(connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy[Any]) -> Edition:
    """Return what the database is; PermanentError if TimescaleDB is missing or too old."""
    row = await connection.fetchrow(
        """
        SELECT current_setting('server_version') AS postgresql,
               (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescaledb,
               current_setting('timescaledb.license', true) AS licence,
               to_regclass('public.alembic_version') IS NOT NULL AS migrated
        """
    )
    assert_row = row or {}
    version = assert_row["timescaledb"]
    if version is None:
        raise PermanentError("the database has no timescaledb extension; run: alatau migrate")
    if tuple(int(part) for part in version.split("-")[0].split(".")[:3]) < OLDEST_TIMESCALEDB:
        raise PermanentError(f"timescaledb {version} loses rows on conflict; upgrade to 2.18.1 or newer")
    revision = (
        await connection.fetchval("SELECT version_num FROM public.alembic_version")
        if assert_row["migrated"]
        else None
    )
    return Edition(assert_row["postgresql"], version, assert_row["licence"] or "unknown", revision)
