"""Who is let in by HTTP: what is remembered of a secret, and how often one may be wrong. Without a server."""

from __future__ import annotations

import base64
import dataclasses

import pytest

from broker.secrets import hash_secret
from ingest.http.identity import GuessPolicy, Identity
from ingest.http.problems import HttpProblemError, Problem
from ingest.http.verified import VerifiedSecrets
from sensors.accounts import account_of
from sensors.rates import Rate
from storage.devices import Credential


def stored(secret: str, *, is_disabled: bool = False) -> Credential:
    hashed = hash_secret(secret)
    return Credential(hashed.salt, hashed.hash, hashed.iterations, is_disabled)


def basic(username: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{secret}".encode()).decode()


class Table:
    """The stored secrets by user name, and how often they were asked for."""

    def __init__(self, **secrets: Credential) -> None:
        self.secrets = secrets
        self.asked = 0

    async def find(self, username: str) -> Credential | None:
        self.asked += 1
        return self.secrets.get(username)


@dataclasses.dataclass(slots=True)
class Door:
    """Lets in, at a time that a test sets."""

    table: Table
    now: float = 0.0
    identity: Identity = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        policy = GuessPolicy(each=Rate(0.1, 2), address=Rate(0.1, 4))
        self.identity = Identity(self.table.find, lambda: self.now, policy)

    async def outcome(self, username: str, secret: str, address: str = "192.0.2.1") -> str | Problem:
        """Return who is let in, or the problem."""
        try:
            return await self.identity.identify(basic(username, secret), address)
        except HttpProblemError as error:
            return error.problem


def test_a_secret_is_recognised_for_its_name_and_what_was_stored_then() -> None:
    verified, first, second = VerifiedSecrets(size=2), stored("right"), stored("right")
    verified.note("a", "right", first)
    assert verified.recognises("a", "right")
    assert not verified.recognises("a", "wrong")
    assert not verified.recognises("b", "right")
    assert verified.is_current("a", first)
    assert not verified.is_current("a", second)  # of the same secret with another salt
    verified.forget("a")
    assert not verified.recognises("a", "right")
    assert not verified.is_current("a", first)


def test_no_more_are_remembered_than_may_be_and_the_oldest_are_forgotten_first() -> None:
    verified = VerifiedSecrets(size=2)
    for name in ("a", "b", "a", "c"):
        verified.note(name, "right", stored("right"))
    assert [verified.recognises(name, "right") for name in ("a", "b", "c")] == [True, False, True]


def test_no_secret_is_in_memory() -> None:
    verified = VerifiedSecrets()
    verified.note("a", "a-secret-of-a-device", stored("a-secret-of-a-device"))
    assert b"a-secret" not in repr(vars(verified)).encode()


async def test_what_is_stored_is_asked_for_each_time() -> None:
    door = Door(Table(a=stored("right")))
    assert [await door.outcome("a", "right") for _ in range(3)] == ["a"] * 3
    assert door.table.asked == 3
    door.table.secrets["a"] = stored("right", is_disabled=True)
    assert await door.outcome("a", "right") is Problem.FORBIDDEN
    door.table.secrets["a"] = stored("another")
    assert await door.outcome("a", "right") is Problem.UNAUTHORIZED
    assert await door.outcome("a", "another") == "a"
    del door.table.secrets["a"]
    assert await door.outcome("a", "another") is Problem.UNAUTHORIZED


async def test_a_name_that_is_wrong_too_often_from_an_address_waits_there_alone() -> None:
    door = Door(Table(a=stored("right")))
    assert [await door.outcome("a", "wrong") for _ in range(3)] == [
        Problem.UNAUTHORIZED,
        Problem.UNAUTHORIZED,
        Problem.TOO_MANY,
    ]
    asked = door.table.asked
    assert await door.outcome("a", "right") is Problem.TOO_MANY  # it may be the next guess
    assert door.table.asked == asked
    assert await door.outcome("a", "right", "192.0.2.2") == "a"
    assert await door.outcome("a", "right") == "a"  # now that it is known
    door.now = 10.0
    assert await door.outcome("a", "wrong") is Problem.UNAUTHORIZED


async def test_an_address_that_is_wrong_with_many_names_waits_and_who_was_right_goes_on() -> None:
    door = Door(Table(a=stored("right"), b=stored("right")))
    assert await door.outcome("a", "right", "2001:db8::1") == "a"
    # Of one network of version 6, where each of its addresses is its own to choose.
    outcomes = [await door.outcome(f"guess-{n}", "x", f"2001:db8::{n}") for n in range(6)]
    assert outcomes == [Problem.UNAUTHORIZED] * 4 + [Problem.TOO_MANY] * 2
    assert await door.outcome("b", "right", "2001:db8::1") is Problem.TOO_MANY
    assert await door.outcome("a", "right", "2001:db8::1") == "a"


async def test_who_is_right_costs_no_attempt() -> None:
    door = Door(Table(**{f"d{n}": stored("right") for n in range(10)}))
    assert [await door.outcome(f"d{n}", "right") for n in range(10)] == [f"d{n}" for n in range(10)]


@pytest.mark.parametrize("header", ["", "Basic", "Basic " + "QUJD" * 1000, "Basic /w==", "Basic Og=="])
async def test_a_header_that_is_none_is_explained(header: str) -> None:
    with pytest.raises(HttpProblemError) as caught:
        await Door(Table()).identity.identify(header or None, "192.0.2.1")
    assert caught.value.problem is Problem.UNAUTHORIZED
    assert "ID:SECRET" in caught.value.detail or "user name and secret" in caught.value.detail


async def test_an_id_with_a_colon_is_told_from_its_secret() -> None:
    door = Door(Table(**{"urn:dev:1": stored("right")}))
    assert await door.outcome("urn:dev:1", "right") == "urn:dev:1"


@pytest.mark.parametrize(
    ("username", "account"),
    [
        ("lamp-17", ("lamp-17", 1)),
        ("lamp-17~2", ("lamp-17", 2)),
        ("lamp-17~1", None),
        ("lamp-17~", None),
        ("lamp 17", None),
        ("lamp-17\0", None),
        ("", None),
    ],
)
def test_a_user_name_is_of_one_account_of_a_device(username: str, account: tuple[str, int] | None) -> None:
    assert account_of(username) == account
