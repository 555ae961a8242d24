"""Other sites, and what they may not do with the session of somebody who is signed in."""

from __future__ import annotations

import pytest

from api.cookies import COOKIE
from tests.api.answers import problem
from tests.api.people import (
    PASSWORD,
    Place,
    Places,
    sign_in,
    signed_in,
    whoami,
)
from tests.cities import City

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
