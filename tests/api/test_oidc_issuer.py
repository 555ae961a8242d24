"""An issuer that is down, slow or wrong, and one that changes its keys: who signs in is told, and nothing hangs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response

from api.app import create_app
from api.oidc_tokens import Fault
from stack.ports import free_port
from tests.api.answers import NOW, problem
from tests.api.conftest import serve
from tests.api.elsewhere import START, Entrance, WithIssuer, attempt, sign_in
from tests.api.issuer import Claims, Issuer
from tests.api.people import Clock
from tests.cities import City

DESCRIPTION, TOKEN, KEYS = "/.well-known/openid-configuration", "/token", "/keys"


async def test_new_keys_of_the_issuer_are_found_and_old_ones_are_none_any_more(
    issuer: Issuer, with_issuer: WithIssuer
) -> None:
    app = create_app(with_issuer(issuer, keep_seconds=3600.0), clock=lambda: NOW)
    async with serve(app, None) as browser:
        for _ in range(2):
            assert (await sign_in(browser)).status_code == 303
        assert issuer.asked.count(KEYS) == 1
        issuer.publish(new=issuer.keys.other)
        issuer.make_token = lambda claims: issuer.sign(claims, "RS256", issuer.keys.other, "new")
        assert (await sign_in(browser)).status_code == 303
        issuer.make_token = lambda claims: issuer.sign(claims, "RS256", issuer.keys.rsa, "rsa")
        problem(await sign_in(browser), 401, "unauthorized")


async def test_unknown_keys_are_asked_for_once_in_a_while(
    issuer: Issuer, with_issuer: WithIssuer, city: City
) -> None:
    app = create_app(with_issuer(issuer, keep_seconds=7200.0, again_seconds=3600.0), clock=lambda: NOW)
    entrance = Entrance(app, issuer, Clock(NOW))
    issuer.make_token = lambda claims: issuer.sign(claims, "RS256", issuer.keys.other, "unknown")
    async with serve(app, None), entrance.browser() as browser:
        for _ in range(4):
            problem(await sign_in(browser), 401, "unauthorized")
    assert entrance.count(Fault.KEY.value) == 4
    assert (issuer.asked.count(KEYS), issuer.asked.count(DESCRIPTION)) == (1, 1)


async def test_the_only_key_needs_no_name(entrance: Entrance) -> None:
    entrance.issuer.publish(rsa=entrance.issuer.keys.rsa)
    entrance.issuer.make_token = lambda claims: entrance.issuer.sign(
        claims, "RS256", entrance.issuer.keys.rsa, None
    )
    async with entrance.browser() as browser:
        assert (await sign_in(browser)).status_code == 303


async def test_an_issuer_that_wants_the_secret_in_the_body_gets_it_there(entrance: Entrance) -> None:
    methods = ["client_secret_post", "private_key_jwt"]
    entrance.issuer.describe = lambda told: told | {"token_endpoint_auth_methods_supported": methods}
    async with entrance.browser() as browser:
        assert (await sign_in(browser)).status_code == 303


async def test_a_wrong_secret_is_told_to_the_operator_and_not_to_people(
    issuer: Issuer, with_issuer: WithIssuer, city: City
) -> None:
    app = create_app(with_issuer(issuer, client_secret="wrong-secret"), clock=lambda: NOW)
    entrance = Entrance(app, issuer, Clock(NOW))
    async with serve(app, None), entrance.browser() as browser:
        answer = await sign_in(browser)
        told = await attempt(entrance, city, Fault.WRONG, answer)
    assert (told["status"], "tell the operator" in told["detail"]) == (502, True)
    assert "wrong-secret" not in answer.text


class Endless(Response):
    """An answer that never ends."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send until nobody listens."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.create_task(self._gone(receive), name="test.gone")
        while not gone.done():
            await send({"type": "http.response.body", "body": b" " * 65536, "more_body": True})
            await asyncio.sleep(0)
        await gone

    async def _gone(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


class Silent(Response):
    """An answer that never begins."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Wait until nobody listens."""
        while (await receive())["type"] != "http.disconnect":
            pass


# What the issuer answers, and what then comes of it.
FAILURES: dict[str, tuple[str, Response, Fault]] = {
    "its description is away": (DESCRIPTION, Response(status_code=503), Fault.AWAY),
    "its description is no JSON": (DESCRIPTION, Response("<html>"), Fault.WRONG),
    "its description is a list": (DESCRIPTION, JSONResponse([1]), Fault.WRONG),
    "its description is missing": (DESCRIPTION, JSONResponse({}, 404), Fault.WRONG),
    "its description is elsewhere": (DESCRIPTION, RedirectResponse("http://evil.example/"), Fault.WRONG),
    "its description nests without end": (DESCRIPTION, Response("[" * 100_000), Fault.WRONG),
    "its keys are away": (KEYS, Response(status_code=500), Fault.AWAY),
    "its keys are endless": (KEYS, Endless(), Fault.WRONG),
    "its keys are too many": (KEYS, JSONResponse({"keys": [{"kty": "RSA"}] * 51}), Fault.WRONG),
    "its keys are no list": (KEYS, JSONResponse({"keys": {}}), Fault.WRONG),
    "its keys are elsewhere": (KEYS, RedirectResponse("http://evil.example/"), Fault.WRONG),
    "its keys are nonsense": (
        KEYS,
        JSONResponse(
            {"keys": [7, {}, {"kty": "RSA", "kid": "rsa", "n": 1, "e": "?"}, {"kty": "EC", "kid": []}]}
        ),
        Fault.KEY,
    ),
    "its tokens are away": (TOKEN, Response(status_code=502), Fault.AWAY),
    "it has too much to do": (TOKEN, JSONResponse({}, 429), Fault.AWAY),
    "it gives no ID token": (TOKEN, JSONResponse({"access_token": "a"}), Fault.WRONG),
    "it gives a number for a token": (TOKEN, JSONResponse({"id_token": 7}), Fault.WRONG),
    "it refuses us": (TOKEN, JSONResponse({"error": "unauthorized_client"}, 400), Fault.WRONG),
}
STATUS = {Fault.AWAY: 503, Fault.WRONG: 502, Fault.KEY: 401}


@pytest.mark.parametrize("failure", FAILURES)
async def test_who_signs_in_at_an_issuer_that_fails_is_told_what_to_do(
    entrance: Entrance, city: City, failure: str
) -> None:
    path, response, fault = FAILURES[failure]
    entrance.issuer.answers[path] = response
    async with entrance.browser() as browser:
        answer = await (browser.get(START) if path == DESCRIPTION else sign_in(browser))
        told = await attempt(entrance, city, fault, answer)
        assert told["status"] == STATUS[fault]
        if fault is Fault.AWAY:
            assert int(answer.headers["retry-after"]) > 0
            assert "try again" in told["detail"]
        entrance.issuer.answers.clear()
        assert (await sign_in(browser)).status_code == 303


async def test_an_issuer_that_says_nothing_is_not_waited_for(
    issuer: Issuer, with_issuer: WithIssuer, city: City
) -> None:
    app = create_app(with_issuer(issuer, timeout_seconds=0.3), clock=lambda: NOW)
    async with serve(app, None), Entrance(app, issuer, Clock(NOW)).browser() as browser:
        for path in (DESCRIPTION, KEYS, TOKEN):
            issuer.answers = {path: Silent()}
            answer = await (browser.get(START) if path == DESCRIPTION else sign_in(browser))
            problem(answer, 503, "unavailable")


@pytest.mark.parametrize(
    "told",
    [
        {"issuer": "https://evil.example"},
        {"jwks_uri": "http://keys.example/keys"},
        {"token_endpoint": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
        {"token_endpoint": "https://user:password@login.example/"},
    ],
    ids=str,
)
async def test_an_issuer_that_names_what_is_not_safe_is_not_asked(
    entrance: Entrance, city: City, told: Claims
) -> None:
    entrance.issuer.describe = lambda right: right | told
    async with entrance.browser() as browser:
        await attempt(entrance, city, Fault.WRONG, await browser.get(START))
    assert entrance.issuer.asked == [DESCRIPTION]


async def test_while_the_issuer_is_down_it_is_asked_once_in_a_while_and_others_go_on(
    issuer: Issuer, with_issuer: WithIssuer, key: str
) -> None:
    issuer.answers[DESCRIPTION] = Silent()
    options = with_issuer(issuer, timeout_seconds=0.3, again_seconds=3600.0)
    async with serve(create_app(options, clock=lambda: NOW), key) as client:
        began = [asyncio.create_task(client.get(START), name="test.start") for _ in range(5)]
        assert (await client.get("/api/v1/kinds")).status_code == 200
        assert not any(task.done() for task in began)
        for answer in await asyncio.gather(*began):
            problem(answer, 503, "unavailable")
    assert issuer.asked == [DESCRIPTION]


async def test_an_issuer_that_nobody_serves_is_told_as_away(issuer: Issuer, with_issuer: WithIssuer) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    async with serve(create_app(with_issuer(issuer, issuer=nowhere), clock=lambda: NOW), None) as client:
        told = problem(await client.get(START), 503, "unavailable")
    assert "sign in with a password" in told["detail"]
