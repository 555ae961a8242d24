"""People who sign in, with passwords that are hashed in no time."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
from fastapi import FastAPI

from api.keys import user_actor
from api.options import SignInOptions
from api.passwords import Hashing
from api.throttle import ThrottleOptions
from storage.api_keys import WHOLE, Role, Scope
from storage.users import NewUser, User, add_user
from tests.cities import City

PASSWORD = "four-words-of-an-example"
CHEAP = Hashing(memory_kib=8, passes=1)


def sign_in_options(**changes: Any) -> SignInOptions:
    """Return options with cheap hashing, and changes of the throttle's."""
    return SignInOptions(hashing=CHEAP, throttle=ThrottleOptions(**changes))


async def add_person(
    city: City, name: str, role: Role = Role.VIEWER, scope: Scope = WHOLE, password: str | None = PASSWORD
) -> User:
    """Add somebody, as the command line does."""
    hashed = None if password is None else CHEAP.hash(password)
    made = await add_user(city.owner, NewUser(name, role, scope, hashed, created_by="test"))
    assert made is not None, f"{name} is there already"
    return made


async def sign_in(
    client: httpx2.AsyncClient, name: str, password: str = PASSWORD, **headers: str
) -> httpx2.Response:
    """Ask for a session; a client keeps the cookie that it gets."""
    body = {"name": name, "password": password}
    return await client.post("/api/v1/session", json=body, headers=headers)


async def signed_in(client: httpx2.AsyncClient, name: str, password: str = PASSWORD) -> dict[str, Any]:
    """Sign in, and return the session; the client then shows its token with every request."""
    answer = await sign_in(client, name, password)
    assert answer.status_code == 201, answer.text
    session: dict[str, Any] = answer.json()
    client.headers["X-CSRF-Token"] = session["csrf_token"]
    return session


async def refused_attempts(city: City, name: str) -> int:
    """Return how often the record has it that somebody was not let in; what is counted is there when the API ended."""
    rows = await city.owner.fetch(
        "SELECT times FROM alatau.audit WHERE actor = $1 AND action = 'sign in' AND outcome = 'refused'",
        user_actor(name),
    )
    return sum(row["times"] for row in rows)


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: dt.datetime) -> None:
        self.now = now

    def __call__(self) -> dt.datetime:
        """Return the time."""
        return self.now


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """An application with cheap passwords, whose clock a test moves; a browser each for who uses it."""

    app: FastAPI
    clock: Clock

    def browser(self, address: str = "127.0.0.1", scheme: str = "http") -> httpx2.AsyncClient:
        """Return a client with cookies of its own."""
        transport = httpx2.ASGITransport(app=self.app, client=(address, 1))
        return httpx2.AsyncClient(transport=transport, base_url=f"{scheme}://api")


Places = Callable[..., AbstractAsyncContextManager[Place]]


async def whoami(client: httpx2.AsyncClient) -> httpx2.Response:
    """Ask who the session is."""
    return await client.get("/api/v1/session")
