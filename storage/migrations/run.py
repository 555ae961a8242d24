"""Runs the alembic revisions over asyncpg."""

from __future__ import annotations

import importlib.resources
from typing import Any

import asyncpg
from alembic import command, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from storage.errors import PermanentError


def sql_file(name: str) -> str:
    """Return the text of a file in ``storage/sql``."""
    return importlib.resources.files("storage").joinpath(f"sql/{name}").read_text()


def execute_sql_file(name: str) -> None:
    """Run a whole file of ``storage/sql`` inside a revision."""
    _run_script(op.get_bind(), sql_file(name))


def _run_script(connection: Connection, script: str) -> None:
    # SQLAlchemy prepares what it runs, and PostgreSQL prepares one statement only; asyncpg's own
    # ``execute`` takes a whole script.
    driver: Any = connection.connection.dbapi_connection
    driver.run_async(lambda raw: raw.execute(script))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(importlib.resources.files("storage") / "migrations"))
    return config


def newest_revision() -> str:
    """Return the newest of the revisions themselves."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


async def upgrade(url: str) -> None:
    """Bring the database to the newest revision and renew the roles' grants, in one transaction. Raises PermanentError
    where a role is missing.

    Two at once are safe: the second waits, and finds nothing to do.
    """
    # asyncpg reads the whole URL; SQLAlchemy would read it its own way.
    engine = create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: asyncpg.connect(url)
    )
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    # Through SQLAlchemy, which begins the transaction with its own first statement only.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('alatau.migrate'))")
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    # A database of somebody else's may be used with one role for everything.
    roles = connection.exec_driver_sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'alatau%'")
    present = {row[0] for row in roles}
    if {"alatau_ingest", "alatau_api"} <= present:
        if missing := {"alatau_maintenance", "alatau_alerts", "alatau_reader", "alatau_scoped"} - present:
            raise PermanentError(
                f"the role {min(missing)} is missing, which came with this version; "
                "run `alatau migrate` once with ALATAU_DATABASE_SUPERUSER_URL"
            )
        _run_script(connection, sql_file("grants.sql"))
