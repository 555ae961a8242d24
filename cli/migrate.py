"""``migrate``: the database is brought to this version."""

from __future__ import annotations

import asyncio
import urllib.parse

import typer

from cli.connections import database_errors, database_url, role_passwords
from cli.console import answers
from cli.schema import prepare_schema
from cli.settings import Settings, SettingsError, load_settings
from storage.api_keys import store_key
from storage.database import OWNER_ROLE, connect, prepare_database, read_edition, with_user
from storage.kinds import Connection


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Services")(migrate)


def migrate() -> None:
    """Bring the database to this version: roles, tables, rights.

    With ALATAU_DATABASE_SUPERUSER_URL it first creates the roles, the database and the extension.

    [dim]Examples:[/]
      alatau migrate
      ALATAU_DATABASE_SUPERUSER_URL=postgresql://postgres:…@db/postgres alatau migrate
    """
    asyncio.run(_migrate(load_settings()))


async def _migrate(settings: Settings) -> None:
    url = await _prepared_database(settings)
    with database_errors(url):
        await prepare_schema(url)
        connection = await connect(url, application="alatau-migrate")
        try:
            edition = await read_edition(connection)
            if settings.api_key:
                await _store_given_key(connection, settings.api_key)
        finally:
            await connection.close()
    answers.print(
        f"PostgreSQL {edition.postgresql}, TimescaleDB {edition.timescaledb} ({edition.licence}), "
        f"schema at revision {edition.revision}"
    )


async def _store_given_key(connection: Connection, key: str) -> None:
    try:
        await store_key(connection, key, "given to alatau migrate")
    except ValueError:
        raise SettingsError(
            "ALATAU_API_KEY is not one of ours; take the one that `alatau compose-env` prints"
        ) from None


async def _prepared_database(settings: Settings) -> str:
    """Return the owner's address of the database, which a superuser's address lets us create first."""
    superuser = settings.database_superuser_url
    if superuser is None:
        return database_url(settings, OWNER_ROLE)
    passwords = role_passwords(settings)
    database = urllib.parse.urlsplit(settings.database_url or "").path.strip("/") or "alatau"
    with database_errors(superuser):
        await prepare_database(superuser, database, passwords)
    return with_user(superuser, OWNER_ROLE, passwords[OWNER_ROLE], database)
