"""Signing in and out: the cookie, how long it lasts, and a password of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt

import httpx2
import pytest

from api.app import ApiOptions, create_app
from api.cookies import COOKIE
from storage.api_keys import Role, Scope
from storage.sessions import token_hash
from storage.users import delete_user, disable_user, enable_user, set_password, set_role
from tests.api.answers import NOW, problem
from tests.api.conftest import listen, serve
from tests.api.people import (
    CHEAP,
    PASSWORD,
    Clock,
    Place,
    Places,
    add_person,
    sign_in,
    sign_in_options,
    signed_in,
    whoami,
)
from tests.cities import City

SECURE = f"__Host-{COOKIE}"


async def until_signed_out(client: httpx2.AsyncClient) -> None:
    """Wait until a session that is remembered has ended, which takes less than a second."""
    async with asyncio.timeout(1):
        while (answer := await client.get("/api/v1/kinds")).status_code == 200:  # noqa: ASYNC110 - it is told to the server alone
            await asyncio.sleep(0.01)
    problem(answer, 401, "unauthorized")


async def test_a_session_is_who_signed_in_with_their_role_and_scope(here: Place, city: City) -> None:
    await add_person(city, "scoped", Role.ANALYST, Scope(districts=("gate",)))
    async with here.browser() as browser:
        made = await signed_in(browser, " Scoped ")
        assert (await whoami(browser)).json() == made
        assert made["kind"] == "user"
        assert (made["name"], made["role"], made["districts"], made["kinds"]) == (
            "scoped",
            "analyst",
            ["gate"],
            None,
        )
        assert made["expires_at"] == "2026-01-16T00:00:00Z"
        devices = (await browser.get("/api/v1/devices")).json()["devices"]
        assert {device["district"] for device in devices} == {"gate"}
        problem(await browser.get("/api/v1/devices?district=golden"), 403, "forbidden")
        problem(await browser.get("/api/v1/dead-letters"), 403, "forbidden")
        assert (await browser.get("/api/v1/corrections")).status_code == 200


@pytest.mark.parametrize(
    ("scheme", "name", "secure"), [("http", COOKIE, False), ("https", SECURE, True)], ids=["http", "https"]
)
async def test_the_cookie_is_for_this_server_alone_and_for_no_script(
    here: Place, anna: str, scheme: str, name: str, secure: bool
) -> None:
    async with here.browser(scheme=scheme) as browser:
        answer = await sign_in(browser, anna)
        first, *rest = answer.headers["set-cookie"].split("; ")
        attributes = {one.lower() for one in rest}
        assert first.startswith(f"{name}=")
        assert {"httponly", "samesite=lax", "path=/", "max-age=43200"} <= attributes
        assert ("secure" in attributes) is secure
        assert not [one for one in attributes if one.startswith("domain")]
        assert answer.headers["cache-control"] == "no-store"
        assert (await whoami(browser)).status_code == 200


async def test_behind_a_proxy_that_speaks_tls_the_cookie_is_secure(options: ApiOptions, anna: str) -> None:
    app = create_app(dataclasses.replace(options, sign_in=sign_in_options()), clock=lambda: NOW)
    async with (
        listen(app, proxy_headers=True, forwarded_allow_ips="127.0.0.1") as url,
        httpx2.AsyncClient(base_url=url) as browser,
    ):
        answer = await sign_in(browser, anna, **{"X-Forwarded-Proto": "https"})
    assert answer.headers["set-cookie"].startswith(f"{SECURE}=")
    assert "; Secure" in answer.headers["set-cookie"]


async def test_over_https_a_cookie_without_its_prefix_is_none(here: Place, anna: str) -> None:
    async with here.browser() as plain, here.browser(scheme="https") as secure:
        await signed_in(plain, anna)
        secure.cookies.set(COOKIE, plain.cookies[COOKIE])
        problem(await whoami(secure), 401, "unauthorized")


async def test_only_a_hash_of_the_token_is_stored(here: Place, anna: str, city: City) -> None:
    async with here.browser() as browser:
        await signed_in(browser, anna)
        token = browser.cookies[COOKIE]
        assert len(token) == 43
        rows = await city.owner.fetch("SELECT * FROM alatau.user_session")
        assert token_hash(token) in [row["token_hash"] for row in rows]
        assert token not in str([dict(row) for row in rows])


async def test_each_sign_in_has_a_token_of_its_own_and_ends_the_one_before(here: Place, anna: str) -> None:
    async with here.browser() as browser, here.browser() as other:
        chosen = "chosen-by-somebody-else"
        answer = await sign_in(browser, anna, Cookie=f"{COOKIE}={chosen}")
        first = browser.cookies[COOKIE]
        assert answer.status_code == 201
        assert first != chosen
        other.cookies.set(COOKIE, first)
        assert (await whoami(other)).status_code == 200
        await signed_in(browser, anna)
        assert browser.cookies[COOKIE] != first
        await until_signed_out(other)


async def test_who_has_signed_out_is_nobody_and_so_is_the_old_cookie(here: Place, anna: str) -> None:
    async with here.browser() as browser, here.browser() as other:
        await signed_in(browser, anna)
        other.cookies.set(COOKIE, browser.cookies[COOKIE])
        answer = await browser.delete("/api/v1/session")
        assert (answer.status_code, answer.content) == (204, b"")
        assert COOKIE not in browser.cookies
        assert "sign in again" in problem(await whoami(other), 401, "unauthorized")["detail"]


@pytest.mark.parametrize(
    ("pause", "times", "goes_on"),
    [
        (dt.timedelta(minutes=59), 1, True),
        (dt.timedelta(minutes=61), 1, False),  # too long without being used
        (dt.timedelta(minutes=50), 14, True),
        (dt.timedelta(minutes=50), 15, False),  # twelve hours, although it was used all the time
    ],
)
async def test_a_session_ends_when_it_is_not_used_and_after_twelve_hours(
    options: ApiOptions, anna: str, pause: dt.timedelta, times: int, goes_on: bool
) -> None:
    clock = Clock(NOW)
    changed = dataclasses.replace(options, sign_in=sign_in_options(), key_cache_seconds=0.0)
    async with serve(create_app(changed, clock=clock), None) as browser:
        await signed_in(browser, anna)
        for _ in range(times):
            clock.now += pause
            answer = await browser.get("/api/v1/kinds")
        assert answer.status_code == (200 if goes_on else 401)


async def test_what_has_ended_is_deleted_when_somebody_signs_in(place: Places, anna: str, city: City) -> None:
    async with place() as here, here.browser() as browser, here.browser() as later:
        await signed_in(browser, anna)
        here.clock.now += dt.timedelta(hours=2)
        await signed_in(later, anna)
        stored = [
            row["token_hash"] for row in await city.owner.fetch("SELECT token_hash FROM alatau.user_session")
        ]
        assert token_hash(later.cookies[COOKIE]) in stored
        assert token_hash(browser.cookies[COOKIE]) not in stored


CHANGES = {
    "password": lambda city: set_password(city.owner, "carl", CHEAP.hash("another-one-of-them")),
    "role": lambda city: set_role(city.owner, "carl", Role.ANALYST, Scope()),
    "disabled": lambda city: disable_user(city.owner, "carl"),
    "deleted": lambda city: delete_user(city.owner, "carl"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_who_is_changed_by_another_process_is_signed_out_within_a_second(
    here: Place, city: City, change: str
) -> None:
    await delete_user(city.owner, "carl")
    await add_person(city, "carl")
    async with here.browser() as browser:
        await signed_in(browser, "carl")
        assert (await whoami(browser)).status_code == 200
        await CHANGES[change](city)
        await until_signed_out(browser)


async def test_who_is_disabled_is_not_let_in_and_not_told_why(here: Place, city: City) -> None:
    await add_person(city, "dora")
    async with here.browser() as browser:
        await disable_user(city.owner, "dora")
        refused = problem(await sign_in(browser, "dora"), 401, "unauthorized")
        assert refused["detail"] == problem(await sign_in(browser, "nobody"), 401, "unauthorized")["detail"]
        await enable_user(city.owner, "dora")
        assert (await sign_in(browser, "dora")).status_code == 201


async def change_password(client: httpx2.AsyncClient, old: str, new: str) -> httpx2.Response:
    body = {"old_password": old, "password": new}
    return await client.post("/api/v1/session/password", json=body)


async def test_another_password_ends_all_other_sessions(here: Place, city: City) -> None:
    await add_person(city, "ines")
    async with here.browser() as browser, here.browser() as other:
        await signed_in(browser, "ines")
        await signed_in(other, "ines")
        answer = await change_password(browser, PASSWORD, "other-words-of-hers")
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await whoami(browser)).status_code == 200
        problem(await whoami(other), 401, "unauthorized")
        problem(await sign_in(other, "ines"), 401, "unauthorized")
        await signed_in(other, "ines", "other-words-of-hers")


async def test_a_password_that_an_admin_has_replaced_meanwhile_stays(here: Place, city: City) -> None:
    await add_person(city, "kim")
    async with here.browser() as browser:
        await signed_in(browser, "kim")
        transaction = city.owner.transaction()
        await transaction.start()
        await city.owner.execute(
            "UPDATE alatau.user_account SET password_hash = 'another' WHERE name = 'kim'"
        )
        change = asyncio.create_task(change_password(browser, PASSWORD, "other-words-of-theirs"))
        try:
            async with asyncio.timeout(10):
                # Its old password was right: now it waits for the row.
                while not await city.api.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            await transaction.commit()
        problem(await change, 403, "forbidden")
    kept = await city.owner.fetchval("SELECT password_hash FROM alatau.user_account WHERE name = 'kim'")
    assert kept == "another"


async def test_the_old_password_is_asked_for_and_can_not_be_guessed(place: Places, city: City) -> None:
    await add_person(city, "jan")
    async with place(free=2) as here, here.browser() as browser:
        await signed_in(browser, "jan")
        for _ in range(2):
            wrong = await change_password(browser, "wrong-words-of-an-example", "other-words-of-his")
            assert "old password" in problem(wrong, 403, "forbidden")["detail"]
        problem(await change_password(browser, PASSWORD, "other-words-of-his"), 429, "too-many-requests")


@pytest.mark.parametrize(
    ("new", "part"),
    [
        ("short", "fewer than 12"),
        ("ж" * 1000, "longer than 1024 bytes"),
        ("anna@city.example", "is the name"),
        ("Anna@City.Example", "is the name"),
        ("Password1234!", "tried first"),
    ],
)
async def test_a_password_that_will_not_do_is_refused_and_said(
    here: Place, city: City, new: str, part: str
) -> None:
    with contextlib.suppress(AssertionError):
        await add_person(city, "anna@city.example")
    async with here.browser() as browser:
        await signed_in(browser, "anna@city.example")
        refused = await change_password(browser, PASSWORD, new)
        assert part in problem(refused, 422, "invalid-parameter")["detail"]
        assert new not in refused.text
