"""``migrate``: from nothing, again, and what it says when it can't."""

from __future__ import annotations

import asyncpg
import pytest

from cli.local import LocalStack
from stack.ports import free_port
from storage.api_keys import WHOLE, Role, find_key, generate_key
from storage.database import (
    ALERTS_ROLE,
    API_ROLE,
    INGEST_ROLE,
    MAINTENANCE_ROLE,
    OWNER_ROLE,
    READER_ROLE,
    connect,
)
from tests.cli.command import Alatau
from tests.conftest import Database

pytestmark = pytest.mark.servers


def superuser(stack: LocalStack, database: str) -> dict[str, str]:
    """Return the settings that let ``migrate`` make a database beside the others."""
    roles = stack.secrets.roles
    return {
        "ALATAU_DATABASE_SUPERUSER_URL": stack.postgres.superuser_url,
        "ALATAU_DATABASE_URL": f"postgresql://127.0.0.1:{stack.ports.database}/{database}",
        "ALATAU_DATABASE_OWNER_PASSWORD": roles[OWNER_ROLE],
        "ALATAU_DATABASE_INGEST_PASSWORD": roles[INGEST_ROLE],
        "ALATAU_DATABASE_API_PASSWORD": roles[API_ROLE],
        "ALATAU_DATABASE_MAINTENANCE_PASSWORD": roles[MAINTENANCE_ROLE],
        "ALATAU_DATABASE_ALERTS_PASSWORD": roles[ALERTS_ROLE],
        "ALATAU_DATABASE_READER_PASSWORD": roles[READER_ROLE],
    }


def test_migrating_again_changes_nothing(alatau: Alatau) -> None:
    first, second = alatau("migrate"), alatau("migrate")
    assert (first.code, second.code) == (0, 0)
    assert first.out == second.out
    assert "schema at revision" in first.out


async def test_a_superuser_address_makes_the_database_and_the_given_key_opens_the_api(
    bare: Alatau, local_stack: LocalStack
) -> None:
    settings, key = superuser(local_stack, "test_migrate"), generate_key()
    for _ in range(2):
        result = bare("migrate", ALATAU_API_KEY=key, **settings)
        assert result.code == 0, result.errors
    connection = await connect(local_stack.database_url(API_ROLE, "test_migrate"), application="test")
    try:
        found = await find_key(connection, key)
        assert found is not None
        assert (found.name, found.role, found.scope) == ("given to alatau migrate", Role.ADMIN, WHOLE)
        assert await find_key(connection, generate_key()) is None
    finally:
        await connection.close()


def test_an_address_without_a_user_takes_the_role_whose_password_is_set(
    bare: Alatau, database: Database, local_stack: LocalStack
) -> None:
    name = database.owner_url.rpartition("/")[2]
    settings = superuser(local_stack, name)
    settings.pop("ALATAU_DATABASE_SUPERUSER_URL")
    assert bare("device", "list", **settings).code == 0


async def test_a_key_that_is_none_of_ours_is_refused_by_name(
    alatau: Alatau, connection: asyncpg.Connection
) -> None:
    before = await connection.fetchval("SELECT count(*) FROM alatau.api_key")
    result = alatau("migrate", ALATAU_API_KEY="hunter2")
    assert result.code == 1
    assert "ALATAU_API_KEY" in result.errors
    assert "hunter2" not in result.errors
    assert await connection.fetchval("SELECT count(*) FROM alatau.api_key") == before


def test_missing_passwords_are_named(bare: Alatau, local_stack: LocalStack) -> None:
    settings = superuser(local_stack, "test_migrate")
    settings.pop("ALATAU_DATABASE_API_PASSWORD")
    result = bare("migrate", **settings)
    assert result.code == 1
    assert "set ALATAU_DATABASE_API_PASSWORD," in result.errors


@pytest.mark.parametrize("command", [["migrate"], ["device", "list"], ["dead-letters", "list"]])
def test_a_database_that_does_not_answer_is_named(bare: Alatau, command: list[str]) -> None:
    port = free_port()
    result = bare(*command, ALATAU_DATABASE_URL=f"postgresql://u:secret@127.0.0.1:{port}/x")
    assert result.code == 1
    assert f"the database at 127.0.0.1:{port}: " in result.errors
    assert "secret" not in result.errors
    assert "Traceback" not in result.errors


def test_without_any_database_it_is_said_what_to_set(bare: Alatau) -> None:
    result = bare("migrate")
    assert result.code == 1
    assert "ALATAU_DATABASE_URL" in result.errors
