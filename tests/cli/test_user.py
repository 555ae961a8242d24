"""``user``: adding people, listing, changing and deleting them."""

from __future__ import annotations

import getpass

import asyncpg
import pytest

from api.passwords import Hashing
from storage.api_keys import Role, Scope
from storage.users import find_user
from tests.cli.command import Alatau

pytestmark = pytest.mark.servers


async def has_password(connection: asyncpg.Connection, name: str, password: str) -> bool:
    found = await find_user(connection, name)
    return found is not None and found[1] is not None and Hashing().matches(found[1], password)


async def test_somebody_is_added_listed_changed_and_deleted_on_record(
    alatau: Alatau, connection: asyncpg.Connection
) -> None:
    assert alatau("user", "add", "boss", "--role", "admin", "--generate").code == 0
    made = alatau("user", "add", "Anna", "--role", "analyst", "--district", "gate", "--generate")
    assert made.code == 0, made.errors
    password = made.out.split()[1]
    assert "(shown once; only its hash is kept)" in made.out
    assert made.out.endswith("anna is analyst and sees gate")
    assert await has_password(connection, "anna", password)
    listed = alatau("user", "list").out
    assert "anna analyst gate with a password never enabled" in listed
    assert password not in listed

    other = alatau("user", "password", "anna", "--generate").out.split()[1]
    assert await has_password(connection, "anna", other)
    assert not await has_password(connection, "anna", password)
    assert (
        "anna is operator and sees noise" in alatau("user", "role", "anna", "operator", "--kind", "noise").out
    )
    found = await find_user(connection, "anna")
    assert found is not None
    assert (found[0].role, found[0].scope) == (Role.OPERATOR, Scope(kinds=("noise",)))
    assert alatau("user", "disable", "anna").code == 0
    assert "disabled" in alatau("user", "list").out
    assert alatau("user", "enable", "anna").out == "enabled anna"
    assert alatau("user", "delete", "anna").code == 0
    assert await find_user(connection, "anna") is None

    events = await connection.fetch(
        "SELECT actor, action, detail FROM alatau.audit WHERE subject = 'anna' ORDER BY audit_id"
    )
    assert [event["action"] for event in events] == [
        "add user",
        "change password of user",
        "change role of user",
        "disable user",
        "enable user",
        "delete user",
    ]
    assert {event["actor"] for event in events} == {getpass.getuser()}
    assert password not in str([dict(event) for event in events])


async def test_a_password_is_read_from_what_is_piped_in(
    alatau: Alatau, connection: asyncpg.Connection
) -> None:
    made = alatau("user", "add", "bela", stdin="five-words-of-hers-alone\n")
    assert made.out == "bela is viewer and sees the whole city"
    assert await has_password(connection, "bela", "five-words-of-hers-alone")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["add", "a b", "--generate"], "is no name"),
        (["add", "a", "--district", "gaet", "--generate"], 'did you mean "gate"'),
        (["add", "a", "--role", "admin", "--kind", "noise", "--generate"], "the whole city"),
        (["add", "a"], "--generate"),  # nothing is piped in
        (["add", "chief", "--generate"], "is there already"),
        (["password", "nobody", "--generate"], "alatau user list"),
        (["delete", "nobody"], "alatau user list"),
        (["delete", "chief"], "last admin"),
        (["disable", "chief"], "last admin"),
        (["role", "chief", "viewer"], "last admin"),
    ],
)
def test_what_can_not_be_done_is_said(alatau: Alatau, arguments: list[str], part: str) -> None:
    alatau("user", "add", "chief", "--role", "admin", "--generate")
    alatau("user", "delete", "boss")  # of another test
    result = alatau("user", *arguments)
    assert result.code == 1
    assert part in result.errors


def test_no_password_is_taken_as_an_argument(alatau: Alatau) -> None:
    assert alatau("user", "add", "carl", "four-words-of-an-example").code == 2
    assert alatau("user", "add", "carl", "--password", "four-words-of-an-example").code == 2
