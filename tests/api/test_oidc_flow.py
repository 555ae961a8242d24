"""The way to the issuer and back: nothing is taken up that was not begun in the same browser."""

from __future__ import annotations

import dataclasses
import datetime as dt
import urllib.parse

import httpx2
import pytest

from api.app import create_app
from api.oidc_flow import COOKIE, Flow
from api.oidc_tokens import Fault
from sensors.rates import Rate
from stack.ports import free_port
from tests.api.answers import NOW, problem
from tests.api.conftest import serve
from tests.api.elsewhere import API, START, Entrance, WithIssuer, at_issuer, attempt, begin
from tests.api.issuer import Issuer
from tests.cities import City


async def test_each_sign_in_has_a_state_a_nonce_and_a_challenge_of_its_own(entrance: Entrance) -> None:
    async with entrance.browser() as browser:
        queries = [dict(urllib.parse.parse_qsl((await begin(browser)).partition("?")[2])) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        first, second = (query[name] for query in queries)
        assert first != second
        assert len(first) == 43
    assert {query["code_challenge_method"] for query in queries} == {"S256"}
    assert {query["redirect_uri"] for query in queries} == {f"{API}{START}/callback"}


@pytest.mark.parametrize("change", ["&state=another", "&state=", "missing"])
async def test_another_state_or_none_is_refused(entrance: Entrance, city: City, change: str) -> None:
    async with entrance.browser() as browser:
        back = await at_issuer(await begin(browser))
        url = back.partition("&state=")[0] if change == "missing" else back + change
        told = await attempt(entrance, city, Fault.STATE, await browser.get(url))
    assert "sign in again" in told["detail"]
    assert "/token" not in entrance.issuer.asked


async def test_an_answer_in_another_browser_is_refused(entrance: Entrance, city: City) -> None:
    async with entrance.browser() as attacker, entrance.browser() as victim:
        back = await at_issuer(await begin(attacker))
        await attempt(entrance, city, Fault.FLOW, await victim.get(back))
        own = await begin(victim)
        problem(await victim.get(back), 401, "unauthorized")
        # Nobody's own sign-in is ended by others.
        assert "/token" not in entrance.issuer.asked
        assert (await victim.get(await at_issuer(own))).status_code == 303
    assert entrance.count(Fault.STATE.value) == 1


@pytest.mark.parametrize("cookie", ["forged", "of another client", "too old"])
async def test_a_cookie_that_is_not_ours_or_is_old_is_refused(
    entrance: Entrance, city: City, with_issuer: WithIssuer, cookie: str
) -> None:
    async with entrance.browser() as browser:
        back = await at_issuer(await begin(browser))
        if cookie == "forged":
            sealed = browser.cookies[COOKIE]
            browser.cookies.clear()
            browser.cookies.set(COOKIE, sealed[:40] + ("A" if sealed[40] != "A" else "B") + sealed[41:])
        elif cookie == "of another client":
            other = with_issuer(entrance.issuer, client_secret="another").oidc
            assert other is not None
            browser.cookies.clear()
            browser.cookies.set(COOKIE, Flow.begin("/docs").seal(other, NOW))
        else:
            entrance.clock.now += dt.timedelta(seconds=601)
        await attempt(entrance, city, Fault.FLOW, await browser.get(back))
    assert "/token" not in entrance.issuer.asked


async def test_an_answer_is_good_once_also_with_a_kept_cookie(entrance: Entrance, city: City) -> None:
    async with entrance.browser() as browser, entrance.browser() as thief:
        back = await at_issuer(await begin(browser))
        thief.cookies.set(COOKIE, browser.cookies[COOKIE])
        assert (await browser.get(back)).status_code == 303
        problem(await browser.get(back), 401, "unauthorized")
        assert entrance.count(Fault.FLOW.value) == 1
        problem(await thief.get(back), 401, "unauthorized")
        assert entrance.count(Fault.CODE.value) == 1


@pytest.mark.parametrize(
    ("ignores_verifier", "fault"),
    [(False, Fault.CODE), (True, Fault.NONCE)],
    ids=["by the verifier", "by the nonce where the issuer knows no PKCE"],
)
async def test_a_code_of_another_sign_in_is_refused(
    entrance: Entrance, city: City, ignores_verifier: bool, fault: Fault
) -> None:
    entrance.issuer.ignores_verifier = ignores_verifier
    async with entrance.browser() as attacker, entrance.browser() as victim:
        stolen, own = [await at_issuer(await begin(browser)) for browser in (victim, attacker)]
        code, other = (dict(urllib.parse.parse_qsl(url.partition("?")[2]))["code"] for url in (own, stolen))
        await attempt(entrance, city, fault, await attacker.get(own.replace(code, other)))


async def test_who_the_issuer_turns_away_is_told_so_and_its_words_are_not_shown(
    entrance: Entrance, city: City
) -> None:
    async with entrance.browser() as browser:
        query = dict(urllib.parse.parse_qsl((await begin(browser)).partition("?")[2]))
        words = "<script>alert(1)</script>"
        answer = await browser.get(f"{START}/callback", params={"error": words, "state": query["state"]})
        told = await attempt(entrance, city, Fault.DENIED, answer)
    assert "did not let you in" in told["detail"]
    assert words not in answer.text


async def test_an_answer_of_another_issuer_is_refused(entrance: Entrance, city: City) -> None:
    async with entrance.browser() as browser:
        back = await at_issuer(await begin(browser))
        await attempt(entrance, city, Fault.ISSUER, await browser.get(f"{back}&iss=https://evil.example"))
    assert "/token" not in entrance.issuer.asked


async def test_an_issuer_that_names_itself_has_to(entrance: Entrance, city: City) -> None:
    entrance.issuer.describe = lambda told: told | {"authorization_response_iss_parameter_supported": True}
    async with entrance.browser() as browser:
        back = await at_issuer(await begin(browser))
        await attempt(entrance, city, Fault.ISSUER, await browser.get(back))
        back = await at_issuer(await begin(browser))
        assert (await browser.get(f"{back}&iss={entrance.issuer.url}")).status_code == 303


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "evil",
        "",
        "/a\r\nb",
        "/" + "a" * 501,
    ],
)
async def test_nobody_is_sent_to_another_site(entrance: Entrance, to: str) -> None:
    async with entrance.browser() as browser:
        problem(await browser.get(START, params={"to": to}), 422, "invalid-parameter")
        assert not browser.cookies


async def test_a_browser_gets_a_page_that_runs_nothing_and_leads_back(entrance: Entrance) -> None:
    async with entrance.browser() as browser:
        answer = await browser.get(f"{START}/callback", headers={"Accept": "text/html,*/*"})
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert 'href="/sign-in"' in answer.text
    assert answer.headers["x-request-id"] in answer.text


async def test_who_comes_back_while_the_database_is_away_is_told(
    issuer: Issuer, with_issuer: WithIssuer
) -> None:
    nowhere = f"postgresql://127.0.0.1:{free_port()}/nowhere"
    options = dataclasses.replace(with_issuer(issuer), database_url=nowhere)
    async with serve(create_app(options, clock=lambda: NOW), None) as browser:
        back = await at_issuer(await begin(browser))
        answer = await browser.get(back, headers={"Accept": "text/html"})
    assert answer.status_code == 503
    assert "the database is not reachable" in answer.text
    assert int(answer.headers["retry-after"]) > 0


async def test_an_address_that_guesses_codes_waits_and_one_that_is_made_to_send_nonsense_does_not(
    issuer: Issuer, with_issuer: WithIssuer
) -> None:
    options = dataclasses.replace(with_issuer(issuer), rate_of_wrong_keys=Rate(0.001, 3))
    async with serve(create_app(options, clock=lambda: NOW), None) as browser:
        for _ in range(5):
            problem(await browser.get(f"{START}/callback?code=a&state=b"), 401, "unauthorized")
        for status in (401, 401, 401, 429):
            query = dict(urllib.parse.parse_qsl((await begin(browser)).partition("?")[2]))
            guess = {"code": "guessed", "state": query["state"]}
            assert (await browser.get(f"{START}/callback", params=guess)).status_code == status
    assert issuer.asked.count("/token") == 3


async def test_the_page_has_a_link_only_where_people_sign_in_elsewhere(
    entrance: Entrance, client: httpx2.AsyncClient
) -> None:
    async with entrance.browser() as browser:
        page = (await browser.get("/sign-in")).text
    assert f'href="{START}"' in page
    assert START not in (await client.get("/sign-in")).text
    problem(await client.get(START), 404, "not-found")
