"""``key``: making API keys, listing and revoking them."""

from __future__ import annotations

import getpass

import asyncpg
import pytest

from storage.api_keys import Role, Scope, find_key
from tests.cli.command import Alatau

pytestmark = pytest.mark.servers


async def test_a_key_is_made_listed_and_revoked_on_record(
    alatau: Alatau, connection: asyncpg.Connection
) -> None:
    made = alatau(
        "key", "add", "gate control room", "--district", "gate", "--owner", "Gate", "--expires", "P90D"
    )
    assert made.code == 0, made.errors
    key = made.out.split()[1]
    assert "(shown once; only its hash is kept)" in made.out
    assert made.out.endswith("role viewer; sees gate")
    found = await find_key(connection, key)
    assert found is not None
    assert (found.role, found.scope, found.created_by) == (Role.VIEWER, Scope(("gate",)), getpass.getuser())
    listed = alatau("key", "list")
    assert f"{found.prefix} gate control room viewer gate Gate never until" in listed.out
    assert key not in listed.out
    revoked = alatau("key", "revoke", key)  # as people paste it
    assert revoked.out == f"revoked {found.prefix} (gate control room)"
    assert await find_key(connection, key) is None
    events = await connection.fetch(
        "SELECT actor, action FROM alatau.audit WHERE subject = $1 ORDER BY audit_id", found.prefix
    )
    assert [tuple(event) for event in events] == [
        (getpass.getuser(), "make key"),
        (getpass.getuser(), "revoke key"),
    ]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["add", "a", "--district", "gaet"], 'did you mean "gate"'),
        (["add", "a", "--kind", "noize"], 'did you mean "noise"'),
        (["add", "a", "--role", "admin", "--kind", "noise"], "the whole city"),
        (["add", "a", "--expires", "-P1D"], "has passed"),
        (["add", "a", "--expires", "soon"], "soon"),
        (["revoke", "0123456789ab"], "alatau key list"),
    ],
)
def test_what_can_not_be_done_is_said(alatau: Alatau, arguments: list[str], part: str) -> None:
    result = alatau("key", *arguments)
    assert result.code == 1
    assert part in result.errors
