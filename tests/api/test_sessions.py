"""Signing in and out: the cookie, how long it lasts, who else may use it, and who guesses passwords."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from api.app import ApiOptions, create_app
from api.cookies import COOKIE
from api.password_work import PasswordWork
from api.problems import ProblemError, ProblemType
from api.rates import Rate
from storage.api_keys import Role, Scope
from storage.sessions import token_hash
from storage.users import delete_user, disable_user, enable_user, set_password, set_role
from tests.api.answers import NOW, problem
from tests.api.conftest import listen, serve
from tests.api.people import (
    CHEAP,
    PASSWORD,
    Clock,
    add_person,
    refused_attempts,
    sign_in,
    sign_in_options,
    signed_in,
)
from tests.cities import City

SECURE = f"__Host-{COOKIE}"


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


@pytest.fixture
def place(options: ApiOptions) -> Places:
    """Serve an application of the test's own making."""

    @contextlib.asynccontextmanager
    async def start(**throttle: Any) -> AsyncIterator[Place]:
        clock = Clock(NOW)
        changed = dataclasses.replace(options, sign_in=sign_in_options(**throttle))
        app = create_app(changed, clock=clock)
        async with serve(app, None):
            yield Place(app, clock)

    return start


@pytest.fixture(scope="module")
async def here(options: ApiOptions) -> AsyncIterator[Place]:
    """An application that never loses patience."""
    endless = Rate(1e6, 10**6)
    patient = sign_in_options(free=10**6, rate_per_address=endless, rate_per_name=endless)
    clock = Clock(NOW)
    app = create_app(dataclasses.replace(options, sign_in=patient), clock=clock)
    async with serve(app, None):
        yield Place(app, clock)


@pytest.fixture(scope="module")
async def anna(city: City) -> str:
    await add_person(city, "anna", Role.OPERATOR)
    return "anna"


async def whoami(client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.get("/api/v1/session")


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
    async with listen(app) as url, httpx2.AsyncClient(base_url=url) as browser:
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


# -- other sites ----------------------------------------------------------------------------------

FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://api.evil.example"},
    {"Origin": "http://api:81"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://api"},
]
OWN = [
    {},
    {"Origin": "http://api"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://api"},
    # A proxy that replaces the host; what the browser itself says of the site can't be forged by a page.
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://city.example"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_another_site_neither_signs_anybody_in_nor_uses_a_session(
    here: Place, anna: str, headers: dict[str, str]
) -> None:
    async with here.browser() as browser:
        refused = problem(await sign_in(browser, anna, **headers), 403, "forbidden")
        assert "another site" in refused["detail"]
        assert not browser.cookies
        await signed_in(browser, anna)
        problem(await browser.delete("/api/v1/session", headers=headers), 403, "forbidden")
        assert (await whoami(browser)).status_code == 200


@pytest.mark.parametrize("headers", OWN, ids=str)
async def test_a_page_of_ours_and_a_program_sign_in_and_out(
    here: Place, anna: str, headers: dict[str, str]
) -> None:
    async with here.browser() as browser:
        browser.headers.update(headers)
        await signed_in(browser, anna)
        assert (await browser.delete("/api/v1/session")).status_code == 204


async def test_what_changes_something_needs_the_token_of_its_own_session(
    place: Places, anna: str, city: City
) -> None:
    async with place() as here, here.browser() as browser, here.browser() as other:
        session = await signed_in(browser, anna)
        others = await signed_in(other, anna)
        for token in ("", "ключ", others["csrf_token"], browser.cookies[COOKIE]):
            for method, path in (("DELETE", "session"), ("POST", "exports"), ("PUT", "kinds")):
                answer = await browser.request(
                    method, f"/api/v1/{path}", headers=[(b"X-CSRF-Token", token.encode())]
                )
                if method != "PUT":  # which no path has
                    assert "X-CSRF-Token" in problem(answer, 403, "forbidden")["detail"]
                assert answer.status_code in (403, 405)
        assert session["csrf_token"] not in (others["csrf_token"], browser.cookies[COOKIE])
        assert (await browser.delete("/api/v1/session")).status_code == 204
    row = await city.owner.fetchrow(
        "SELECT * FROM alatau.audit WHERE subject = 'forged' AND action = 'DELETE /api/v1/session'"
    )
    assert row is not None
    assert (row["actor"], row["outcome"]) == ("user anna", "refused")


async def test_a_form_of_another_site_is_no_request_to_sign_in(here: Place, anna: str) -> None:
    body = f'{{"name": "{anna}", "password": "{PASSWORD}"}}'
    async with here.browser() as browser:
        for content_type in ("text/plain", "application/x-www-form-urlencoded", None):
            headers = {"Content-Type": content_type} if content_type else {}
            answer = await browser.post("/api/v1/session", content=body, headers=headers)
            problem(answer, 422, "invalid-body")
            assert not browser.cookies


async def test_no_other_site_may_read_an_answer(here: Place, anna: str) -> None:
    async with here.browser() as browser:
        await signed_in(browser, anna)
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        for answer in (
            await browser.get("/api/v1/session", headers=asked),
            await browser.options("/api/v1/session", headers=asked),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_key_in_the_header_is_taken_and_not_the_session(here: Place, anna: str, key: str) -> None:
    async with here.browser() as browser:
        await signed_in(browser, anna)
        del browser.headers["X-CSRF-Token"]
        browser.headers["X-API-Key"] = key
        assert (await whoami(browser)).json() == {
            "kind": "key",
            "name": "test",
            "role": "admin",
            "districts": None,
            "kinds": None,
            "csrf_token": None,
            "expires_at": None,
        }
        problem(await browser.delete("/api/v1/session"), 404, "not-found")
        browser.headers["X-API-Key"] = "nonsense"
        problem(await whoami(browser), 401, "unauthorized")


async def test_the_token_of_a_session_is_no_key(here: Place, anna: str) -> None:
    async with here.browser() as browser:
        await signed_in(browser, anna)
        assert (await whoami(browser)).status_code == 200
        browser.headers["X-API-Key"] = browser.cookies[COOKIE]
        problem(await whoami(browser), 401, "unauthorized")


# -- who guesses ----------------------------------------------------------------------------------


async def test_an_unknown_name_takes_the_work_of_a_known_one(here: Place, anna: str, city: City) -> None:
    await add_person(city, "elsewhere", password=None)
    async with here.browser() as browser:
        work = here.app.state.services.passwords
        before = work.compared
        for number, name in enumerate((anna, "nobody", "elsewhere", "no name at all", "ключ"), 1):
            problem(await sign_in(browser, name, "wrong-words-of-an-example"), 401, "unauthorized")
            assert work.compared == before + number


async def test_wrong_passwords_are_on_record_and_what_was_typed_is_not(
    place: Places, anna: str, city: City, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = "typed-in-the-wrong-place"
    before = await refused_attempts(city, anna)
    async with place() as here, here.browser() as browser:
        answers = [await sign_in(browser, *pair) for pair in ((anna, typed), (anna, typed), (typed, "x"))]
        await signed_in(browser, anna)
        token = browser.cookies[COOKIE]
    assert await refused_attempts(city, anna) == before + 2
    record = str([dict(row) for row in await city.owner.fetch("SELECT * FROM alatau.audit")])
    assert "an unknown user" in record
    said = (record, caplog.text, *capsys.readouterr(), *(answer.text for answer in answers))
    assert not [text for text in said for secret in (typed, PASSWORD, token) if secret in text]
    done = await city.owner.fetchrow(
        "SELECT * FROM alatau.audit WHERE actor = $1 AND outcome = 'done' ORDER BY audit_id DESC", "user anna"
    )
    assert done is not None
    assert (done["action"], done["address"], done["detail"]) == ("sign in", "127.0.0.1", {"by": "password"})


async def test_many_names_from_one_address_are_stopped_and_others_go_on(place: Places, city: City) -> None:
    await add_person(city, "frank")
    async with (
        place(rate_per_address=Rate(0.001, 5)) as here,
        here.browser("192.0.2.1") as attacker,
        here.browser("192.0.2.2") as frank,
    ):
        for number in range(5):
            problem(await sign_in(attacker, f"user{number}", "leaked-elsewhere-1"), 401, "unauthorized")
        refused = await sign_in(attacker, "frank")
        assert "too many wrong passwords" in problem(refused, 429, "too-many-requests")["detail"]
        assert int(refused.headers["retry-after"]) >= 999
        await signed_in(frank, "frank")


async def test_one_name_from_many_addresses_is_stopped_but_not_where_it_signed_in_before(
    place: Places, city: City
) -> None:
    await add_person(city, "greta")
    async with contextlib.AsyncExitStack() as stack:
        here = await stack.enter_async_context(place(rate_per_name=Rate(0.001, 5)))
        home = await stack.enter_async_context(here.browser("2001:db8::1"))
        await signed_in(home, "greta")
        for name in ("greta", "nobody"):  # who is not there is told apart by nothing
            for number in range(6):
                bot = await stack.enter_async_context(here.browser(f"198.51.100.{number}"))
                status = 401 if number < 5 else 429
                assert (await sign_in(bot, name, "leaked-elsewhere-1")).status_code == status
        neighbour = await stack.enter_async_context(here.browser("2001:db8::ffff"))
        await signed_in(neighbour, "greta")


async def test_many_attempts_at_once_are_as_many_and_not_one(place: Places, anna: str) -> None:
    async with place(free=3) as here, here.browser("192.0.2.9") as browser:
        answers = await asyncio.gather(
            *(sign_in(browser, anna, "wrong-words-of-an-example") for _ in range(20))
        )
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(401), statuses.count(429)) == (3, 17)


async def test_several_browsers_of_one_person_sign_in_at_once(here: Place, anna: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        browsers = [await stack.enter_async_context(here.browser()) for _ in range(8)]
        answers = await asyncio.gather(*(sign_in(browser, anna) for browser in browsers))
    assert {answer.status_code for answer in answers} == {201}


async def test_what_is_hashed_at_once_is_bounded() -> None:
    work = PasswordWork(CHEAP, at_once=1, waiting=1)
    stored = CHEAP.hash(PASSWORD)
    answers = await asyncio.gather(
        *(work.matches(stored, PASSWORD) for _ in range(5)), return_exceptions=True
    )
    work.close()
    assert answers[:2] == [True, True]
    for refused in answers[2:]:
        assert isinstance(refused, ProblemError)
        assert refused.kind is ProblemType.UNAVAILABLE
        assert refused.headers["Retry-After"]


async def test_a_hash_of_other_parameters_is_made_anew(here: Place, city: City) -> None:
    await add_person(city, "hugo")
    old = dataclasses.replace(CHEAP, passes=2).hash(PASSWORD)
    await set_password(city.owner, "hugo", old)
    stored = "SELECT password_hash FROM alatau.user_account WHERE name = 'hugo'"
    async with here.browser() as browser:
        await signed_in(browser, "hugo")
        assert "m=8,t=1,p=1" in await city.owner.fetchval(stored)
        assert (await whoami(browser)).status_code == 200
        await signed_in(browser, "hugo")


# -- a password of one's own ----------------------------------------------------------------------


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
