"""Who guesses passwords: how long they wait, whom they do not keep out, and what they learn."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import argon2
import pytest

from api.cookies import COOKIE
from api.password_work import PasswordWork
from api.passwords import Hashing
from api.problems import ProblemError, ProblemType
from api.throttle import Attempt, Throttle, ThrottleOptions
from sensors.networks import network_of
from sensors.rates import Rate
from storage.users import set_password
from tests.api.answers import problem
from tests.api.people import (
    CHEAP,
    PASSWORD,
    Place,
    Places,
    add_person,
    refused_attempts,
    sign_in,
    signed_in,
    whoami,
)
from tests.cities import City


async def test_an_unknown_name_takes_the_work_of_a_known_one(here: Place, anna: str, city: City) -> None:
    await add_person(city, "elsewhere", password=None)
    async with here.browser() as browser:
        work = here.app.state.services.passwords
        before = work.compared
        for number, name in enumerate((anna, "nobody", "elsewhere", "no name at all", "ключ"), 1):
            problem(await sign_in(browser, name, "wrong-words-of-an-example"), 401, "unauthorized")
            assert work.compared == before + number


def test_nobodys_hash_takes_what_a_real_one_does() -> None:
    hashing = Hashing()
    nobodys = hashing.nobodys()
    assert argon2.extract_parameters(nobodys) == argon2.extract_parameters(hashing.hash(PASSWORD))
    assert not hashing.matches(nobodys, PASSWORD)
    # Source: OWASP, Password Storage Cheat Sheet.
    assert (hashing.memory_kib, hashing.passes, hashing.lanes) >= (19 * 1024, 2, 1)


async def test_wrong_passwords_are_on_record_and_what_was_typed_is_not(
    place: Places, city: City, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = "typed-in-the-wrong-place"
    await add_person(city, "inga")  # whose attempts are this test's alone
    async with place() as here, here.browser() as browser:
        answers = [await sign_in(browser, *pair) for pair in (("inga", typed), ("inga", typed), (typed, "x"))]
        await signed_in(browser, "inga")
        token = browser.cookies[COOKIE]
    assert await refused_attempts(city, "inga") == 2
    record = str([dict(row) for row in await city.owner.fetch("SELECT * FROM alatau.audit")])
    assert "an unknown user" in record
    said = (record, caplog.text, *capsys.readouterr(), *(answer.text for answer in answers))
    assert not [text for text in said for secret in (typed, PASSWORD, token) if secret in text]
    done = await city.owner.fetchrow(
        "SELECT * FROM alatau.audit WHERE actor = $1 AND outcome = 'done' ORDER BY audit_id DESC", "user inga"
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
        assert int(refused.headers["retry-after"]) >= 900
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


async def test_one_address_does_not_take_the_places_of_all_others(place: Places, anna: str) -> None:
    async with place(free=100) as here, here.browser("192.0.2.7") as crowd, here.browser() as browser:
        answers = asyncio.gather(*(sign_in(crowd, anna, "wrong-words-of-an-example") for _ in range(40)))
        await asyncio.sleep(0)
        assert (await sign_in(browser, anna)).status_code == 201
        statuses = {answer.status_code for answer in await answers}
    assert statuses == {401, 429}


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


def test_each_wrong_password_waits_twice_as_long_and_an_hour_forgets_them() -> None:
    now = [0.0]
    throttle = Throttle(ThrottleOptions(), lambda: now[0])
    attempt = Attempt("anna", "192.0.2.1", is_known=True)
    waits = []
    for _ in range(15):
        waits.append(throttle.begin(attempt))
        now[0] += waits[-1]
        if waits[-1]:
            assert throttle.begin(attempt) == 0
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    now[0] += 3600
    assert throttle.begin(attempt) == 0
    assert throttle.begin(attempt) == 0


def test_who_was_right_has_nothing_to_wait_for_and_others_from_there_have() -> None:
    throttle = Throttle(ThrottleOptions(rate_per_address=Rate(0.001, 3)), lambda: 0.0)
    own, other = (Attempt(name, "192.0.2.1", is_known=False) for name in ("own", "other"))
    for _ in range(3):
        # Being right with a name of one's own is no way to be wrong with others.
        assert throttle.begin(own) == 0
        throttle.was_right(own)
        assert throttle.begin(other) == 0
    assert throttle.begin(other) >= 999


def test_an_attempt_of_which_nothing_came_is_none() -> None:
    throttle = Throttle(ThrottleOptions(free=1, rate_per_address=Rate(0.001, 1)), lambda: 0.0)
    attempt = Attempt("anna", "192.0.2.1", is_known=False)
    for _ in range(5):
        assert throttle.begin(attempt) == 0
        throttle.withdraw(attempt)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_what_one_client_may_choose_of_its_address_is_one(address: str, network: str) -> None:
    assert network_of(address) == network
