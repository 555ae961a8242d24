"""People who sign in elsewhere, as their browsers do it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import httpx2
from fastapi import FastAPI

from api.app import ApiOptions
from api.oidc_tokens import Fault
from storage.external_users import hold_by_subject
from storage.users import User
from tests.api.answers import NOW, problem
from tests.api.issuer import Issuer
from tests.api.people import Clock
from tests.cities import City

API = "http://api"
START = "/api/v1/session/oidc"
UNIX = int(NOW.timestamp())
SLUGS = {401: "unauthorized", 403: "forbidden", 502: "issuer-wrong", 503: "unavailable"}
RULES = "groups: admins=admin, gate team=operator district=gate kind=noise|air_quality, analysts=analyst"


WithIssuer = Callable[..., ApiOptions]


@dataclasses.dataclass(frozen=True, slots=True)
class Entrance:
    """An application that people sign in to at an issuer."""

    app: FastAPI
    issuer: Issuer
    clock: Clock
    before: dict[str, float] = dataclasses.field(default_factory=dict)  # how many attempts came to what

    def browser(self, address: str = "127.0.0.1", scheme: str = "http") -> httpx2.AsyncClient:
        """Return a client with cookies of its own."""
        transport = httpx2.ASGITransport(app=self.app, client=(address, 1))
        return httpx2.AsyncClient(transport=transport, base_url=f"{scheme}://api")

    def count(self, outcome: str) -> float:
        """Return how many attempts came to this since the test began."""
        return self.counts().get(outcome, 0.0) - self.before.get(outcome, 0.0)

    def counts(self) -> dict[str, float]:
        """Return how many attempts came to what since the application began."""
        families = self.app.state.metrics.registry.collect()
        return {
            sample.labels["outcome"]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == "alatau_api_oidc_sign_ins_total"
        }

    async def user(self, city: City) -> User:
        """Return who the issuer lets in, as they are here."""
        user = await hold_by_subject(city.owner, self.issuer.url, self.issuer.person["sub"])
        assert user is not None
        return user


async def begin(browser: httpx2.AsyncClient, to: str = "/sign-in") -> str:
    """Begin a sign-in; return where the browser is sent to."""
    answer = await browser.get(START, params={"to": to})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def at_issuer(url: str) -> str:
    """Sign in at the issuer; return where it sends the browser back to."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(url)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def sign_in(browser: httpx2.AsyncClient, to: str = "/sign-in") -> httpx2.Response:
    """Go the whole way; return what the browser gets when it comes back."""
    return await browser.get(await at_issuer(await begin(browser, to)))


async def attempt(entrance: Entrance, city: City, fault: Fault, answer: httpx2.Response) -> dict[str, Any]:
    """Hold that an answer is the refusal of a fault, which is counted and on record; return the problem."""
    assert not [one for one in answer.headers.get_list("set-cookie") if one.startswith("alatau_session=")]
    assert entrance.count(fault.value) == 1
    assert entrance.count("signed_in") == 0
    await entrance.app.state.services.auditor.write()
    row = await city.owner.fetchrow("SELECT * FROM alatau.audit ORDER BY audit_id DESC LIMIT 1")
    assert row is not None
    assert (row["action"], row["outcome"], row["times"]) == ("sign in", "refused", 1)
    assert row["subject"].startswith(f"oidc: {fault.value}")
    return problem(answer, answer.status_code, SLUGS[answer.status_code])
