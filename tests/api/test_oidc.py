"""Signing in elsewhere: the whole way against a real issuer, and who does not get in by it."""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg
import pytest
from joserfc.jwk import Key

from api.app import create_app
from api.oidc_flow import COOKIE
from api.oidc_tokens import Fault
from storage.api_keys import Role
from storage.users import NewUser, add_user, disable_user
from tests.api.answers import problem
from tests.api.conftest import serve
from tests.api.elsewhere import START, Entrance, WithIssuer, at_issuer, begin, sign_in
from tests.cities import City

# -- who gets in ----------------------------------------------------------------------------------


async def test_who_signs_in_elsewhere_is_a_user_with_the_role_of_their_groups(
    entrance: Entrance, city: City
) -> None:
    entrance.issuer.person |= {"preferred_username": "Erika", "groups": ["staff", "gate team"]}
    async with entrance.browser() as browser:
        answer = await sign_in(browser, "/docs?a=b")
        assert (answer.status_code, answer.headers["location"]) == (303, "/docs?a=b")
        assert COOKIE not in browser.cookies
        session = (await browser.get("/api/v1/session")).json()
        assert (session["name"], session["role"]) == ("erika", "operator")
        assert (session["districts"], session["kinds"]) == (["gate"], ["noise", "air_quality"])
        assert session["expires_at"] == "2026-01-16T00:00:00Z"
        devices = (await browser.get("/api/v1/devices")).json()["devices"]
        assert {one["district"] for one in devices} == {"gate"}
    user = await entrance.user(city)
    assert (user.name, user.has_password, user.created_by) == ("erika", False, entrance.issuer.url)
    acts = await city.owner.fetch(
        "SELECT * FROM alatau.audit WHERE address = '127.0.0.1' ORDER BY audit_id DESC LIMIT 2"
    )
    assert [(act["actor"], act["action"]) for act in acts] == [
        ("user erika", "sign in"),
        (entrance.issuer.url, "add user"),
    ]
    assert acts[0]["detail"] == {"by": entrance.issuer.url}


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"])
async def test_each_algorithm_that_is_taken_lets_in(entrance: Entrance, algorithm: str) -> None:
    issuer = entrance.issuer
    kid = {"ES256": "ec", "Ed25519": "ed", "EdDSA": "ed"}.get(algorithm, "rsa")
    key: Key = getattr(issuer.keys, kid)
    issuer.make_token = lambda claims: issuer.sign(claims, algorithm, key, kid)
    async with entrance.browser() as browser:
        assert (await sign_in(browser)).status_code == 303


async def test_several_browsers_of_somebody_new_make_one_user(entrance: Entrance, city: City) -> None:
    async with contextlib.AsyncExitStack() as stack:
        browsers = [await stack.enter_async_context(entrance.browser()) for _ in range(4)]
        answers = await asyncio.gather(*(sign_in(browser) for browser in browsers))
    assert {answer.status_code for answer in answers} == {303}
    made = "SELECT count(*) FROM alatau.user_account WHERE subject = $1"
    assert await city.owner.fetchval(made, entrance.issuer.person["sub"]) == 1


async def test_over_https_the_cookies_are_set_by_nobody_else(entrance: Entrance) -> None:
    async with entrance.browser(scheme="https") as browser:
        answer = await browser.get(START)
        first, *rest = answer.headers["set-cookie"].split("; ")
        assert first.startswith(f"__Host-{COOKIE}=")
        assert {"httponly", "samesite=lax", "path=/", "secure", "max-age=600"} <= {
            one.lower() for one in rest
        }
        back = await at_issuer(answer.headers["location"])
        answer = await browser.get(back.replace("http:", "https:"))
        assert answer.status_code == 303
        assert set(browser.cookies) == {"__Host-alatau_session"}


async def test_any_process_takes_up_what_another_began(entrance: Entrance, with_issuer: WithIssuer) -> None:
    other = create_app(with_issuer(entrance.issuer), clock=entrance.clock)
    async with entrance.browser() as browser, serve(other, None) as elsewhere:
        back = await at_issuer(await begin(browser))
        elsewhere.cookies = browser.cookies
        assert (await elsewhere.get(back)).status_code == 303


async def test_a_later_sign_in_takes_role_scope_and_name_from_the_claims_and_ends_sessions(
    entrance: Entrance, city: City
) -> None:
    entrance.issuer.person |= {"preferred_username": "fritz", "groups": ["admins"]}
    async with entrance.browser() as browser, entrance.browser() as later:
        await sign_in(browser)
        first = await entrance.user(city)
        assert first.role is Role.ADMIN
        entrance.issuer.person |= {"preferred_username": "fritz.b", "groups": "analysts"}
        await sign_in(later)
        user = await entrance.user(city)
        assert (user.user_id, user.name, user.role) == (first.user_id, "fritz.b", Role.ANALYST)
        problem(await browser.get("/api/v1/session"), 401, "unauthorized")
        assert (await later.get("/api/v1/session")).json()["role"] == "analyst"
    act = await city.owner.fetchrow(
        "SELECT * FROM alatau.audit WHERE action = 'change user' AND subject = 'fritz.b'"
    )
    assert act is not None
    assert (act["detail"]["name_before"], act["detail"]["role_before"]) == ("fritz", "admin")


async def test_a_second_sign_in_with_the_same_claims_changes_nothing(entrance: Entrance, city: City) -> None:
    async with entrance.browser() as browser, entrance.browser() as later:
        await sign_in(browser)
        await sign_in(later)
        assert (await browser.get("/api/v1/session")).status_code == 200
    name = (await entrance.user(city)).name
    acts = await city.owner.fetch("SELECT action FROM alatau.audit WHERE subject = $1", name)
    assert [act["action"] for act in acts] == ["add user"]


async def test_nobody_takes_over_a_user_of_the_same_name(entrance: Entrance, city: City) -> None:
    for name in ("boss", "boss2"):
        made = await add_user(city.owner, NewUser(name, Role.ADMIN, password_hash="x"))
        assert made is not None
    entrance.issuer.person |= {"preferred_username": "boss", "email": "boss2", "groups": ["analysts"]}
    async with entrance.browser() as browser:
        await sign_in(browser)
        session = (await browser.get("/api/v1/session")).json()
    assert session["name"].startswith("boss+")
    assert session["role"] == "analyst"
    # And not later, by another name there.
    entrance.issuer.person["preferred_username"] = "boss2"
    async with entrance.browser() as browser:
        await sign_in(browser)
        assert (await browser.get("/api/v1/session")).json()["name"].startswith("boss2+")
    names = await city.owner.fetch(
        "SELECT name FROM alatau.user_account WHERE issuer IS NULL AND name LIKE 'boss%'"
    )
    assert {row["name"] for row in names} == {"boss", "boss2"}


async def test_a_name_that_can_be_none_here_is_replaced(entrance: Entrance, city: City) -> None:
    entrance.issuer.person |= {"preferred_username": "Ерика\n user root"}
    async with entrance.browser() as browser:
        await sign_in(browser)
    assert (await entrance.user(city)).name.startswith("user-")


# -- several at once ------------------------------------------------------------------------------


async def test_a_sign_in_under_way_while_another_takes_the_role_away_leaves_no_session(
    entrance: Entrance, city: City, superuser: asyncpg.Connection
) -> None:
    async with entrance.browser() as before, entrance.browser() as first, entrance.browser() as second:
        await sign_in(before)
        user = await entrance.user(city)
        callbacks = []
        with_role, without = [*entrance.issuer.person["groups"]], ["staff"]
        async with city.owner.transaction():
            await city.owner.execute(
                "SELECT FROM alatau.user_account WHERE user_id = $1 FOR UPDATE", user.user_id
            )
            for browser, groups in ((first, with_role), (second, without)):
                entrance.issuer.person["groups"] = groups
                callback = asyncio.create_task(sign_in(browser))
                callbacks.append(callback)
                await until_waiting(superuser, len(callbacks), callback)
        answers = await asyncio.gather(*callbacks)
        assert [answer.status_code for answer in answers] == [303, 403]
        for browser in (before, first, second):
            problem(await browser.get("/api/v1/session"), 401, "unauthorized")


async def test_two_who_take_the_same_name_at_once_both_get_in(
    entrance: Entrance, city: City, superuser: asyncpg.Connection
) -> None:
    async with entrance.browser() as browser, entrance.browser() as later:
        await sign_in(browser)
        async with city.owner.transaction():
            assert await add_user(city.owner, NewUser("wanted"))
            entrance.issuer.person["preferred_username"] = "wanted"
            callback = asyncio.create_task(sign_in(later))
            await until_waiting(superuser, 1, callback)
        assert (await callback).status_code == 303
        assert (await later.get("/api/v1/session")).json()["name"].startswith("wanted+")


async def until_waiting(superuser: asyncpg.Connection, count: int, task: asyncio.Task[object]) -> None:
    """Wait until so many wait for a lock, or somebody has not waited."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(10):
        while await superuser.fetchval(waiting) < count and not task.done():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


# -- who does not ---------------------------------------------------------------------------------


async def test_who_is_in_no_group_with_a_role_stays_out_and_loses_every_session(
    entrance: Entrance, city: City
) -> None:
    async with entrance.browser() as browser, entrance.browser() as later:
        await sign_in(browser)
        entrance.issuer.person["groups"] = ["staff", "analyst", "xanalysts", None]
        refused = await sign_in(later)
        assert "group" in problem(refused, 403, "forbidden")["detail"]
        problem(await browser.get("/api/v1/session"), 401, "unauthorized")
    await entrance.app.state.services.auditor.write()
    subject = f"oidc: no_role, {entrance.issuer.person['sub']}"
    name = (await entrance.user(city)).name
    assert (
        await city.owner.fetchval("SELECT actor FROM alatau.audit WHERE subject = $1", subject)
        == f"user {name}"
    )


async def test_who_is_disabled_stays_out_whatever_the_issuer_says(entrance: Entrance, city: City) -> None:
    async with entrance.browser() as browser:
        await sign_in(browser)
        user = await entrance.user(city)
        await disable_user(city.owner, user.name)
        entrance.issuer.person["groups"] = ["admins"]
        assert "disabled" in problem(await sign_in(browser), 403, "forbidden")["detail"]
    assert (await entrance.user(city)).role is Role.ANALYST
    assert entrance.count(Fault.DISABLED.value) == 1
