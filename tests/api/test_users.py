"""People, as an admin adds, changes and deletes them; and what of it is on record."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest

from api.app import ApiOptions, create_app
from api.passwords import generate_password, objection
from storage.api_keys import Role
from storage.external_users import hold_by_subject
from storage.users import (
    LastAdminError,
    NewUser,
    SignsInElsewhereError,
    add_first_user,
    add_user,
    disable_user,
    find_user,
    note_sign_in,
    set_password,
)
from tests.api.answers import NOW, fetch, problem
from tests.api.conftest import serve
from tests.api.people import CHEAP, PASSWORD, add_person, sign_in, sign_in_options, signed_in
from tests.cities import City


@pytest.fixture(scope="module")
async def boss(options: ApiOptions, city: City) -> AsyncIterator[httpx2.AsyncClient]:
    """The browser of an admin; there is no other one when a test ends."""
    await add_person(city, "boss", Role.ADMIN)
    app = create_app(dataclasses.replace(options, sign_in=sign_in_options()), clock=lambda: NOW)
    async with serve(app, None) as browser:
        await signed_in(browser, "boss")
        yield browser


def visitor(boss: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """Return another browser of the same application."""
    return httpx2.AsyncClient(transport=boss._transport, base_url="http://api")


async def post(client: httpx2.AsyncClient, path: str = "", status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await client.post(f"/api/v1/users{path}", json=body)
    assert answer.status_code == status, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_somebody_is_added_with_a_password_that_is_shown_once(
    boss: httpx2.AsyncClient, city: City
) -> None:
    made = await post(boss, status=201, name="Anna", role="analyst", districts=["gate"])
    password = made.pop("password")
    listed = next(user for user in (await fetch(boss, "users"))["users"] if user["name"] == "anna")
    assert listed == made
    assert (made["role"], made["districts"], made["created_by"]) == ("analyst", ["gate"], "user boss")
    stored = str([dict(row) for row in await city.owner.fetch("SELECT * FROM alatau.user_account")])
    record = str([dict(row) for row in await city.owner.fetch("SELECT * FROM alatau.audit")])
    assert password not in stored + record
    assert "$argon2id$" in stored
    async with visitor(boss) as anna:
        await signed_in(anna, "anna", password)


async def test_a_given_password_is_not_shown(boss: httpx2.AsyncClient) -> None:
    made = await post(boss, status=201, name="bela", role="viewer", password="five-words-of-hers-alone")
    assert made["password"] is None
    async with visitor(boss) as bela:
        await signed_in(bela, "bela", "five-words-of-hers-alone")


async def test_every_change_is_on_record(boss: httpx2.AsyncClient) -> None:
    await post(boss, status=201, name="cleo", role="viewer")
    await post(boss, "/cleo/role", role="analyst", districts=None, kinds=["noise"])
    await post(boss, "/cleo/password")
    await post(boss, "/cleo/disable")
    await post(boss, "/cleo/enable")
    assert (await boss.delete("/api/v1/users/cleo")).status_code == 204
    events = (await fetch(boss, "audit", actor="user boss"))["events"]
    assert [event["action"] for event in events if event["subject"] == "cleo"] == [
        "delete user",
        "enable user",
        "disable user",
        "change password of user",
        "change role of user",
        "add user",
    ]


CHANGES: dict[str, dict[str, Any]] = {
    "/role": {"role": "analyst", "districts": None, "kinds": None},
    "/password": {"password": "other-words-of-somebody"},
    "/disable": {},
    "": {},
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change or "delete")
async def test_a_change_ends_the_sessions_at_once(boss: httpx2.AsyncClient, city: City, change: str) -> None:
    name = f"dan{change.replace('/', '.')}"
    await add_person(city, name)
    async with visitor(boss) as dan:
        await signed_in(dan, name)
        assert (await dan.get("/api/v1/kinds")).status_code == 200
        if change:
            await post(boss, f"/{name}{change}", **CHANGES[change])
        else:
            await boss.delete(f"/api/v1/users/{name}")
        problem(await dan.get("/api/v1/kinds"), 401, "unauthorized")


async def test_who_has_another_role_may_what_it_says(boss: httpx2.AsyncClient, city: City) -> None:
    await add_person(city, "emil", Role.OPERATOR)
    changed = await post(boss, "/EMIL/role", role="viewer", districts=["golden"], kinds=None)
    assert (changed["role"], changed["districts"]) == ("viewer", ["golden"])
    async with visitor(boss) as emil:
        await signed_in(emil, "emil")
        problem(await emil.get("/api/v1/dead-letters"), 403, "forbidden")
        assert {one["id"] for one in (await fetch(emil, "devices"))["devices"]} == {"air-2"}


async def test_the_last_admin_can_not_be_taken_away(boss: httpx2.AsyncClient) -> None:
    for method, path, body in (
        ("POST", "/disable", None),
        ("POST", "/role", {"role": "operator", "districts": None, "kinds": None}),
        ("DELETE", "", None),
    ):
        refused = await boss.request(method, f"/api/v1/users/boss{path}", json=body)
        assert "last admin" in problem(refused, 409, "conflict")["detail"]
    assert (await fetch(boss, "session"))["role"] == "admin"


async def test_two_admins_that_disable_each_other_are_not_both_gone(
    boss: httpx2.AsyncClient, city: City, superuser: asyncpg.Connection
) -> None:
    await add_person(city, "rival", Role.ADMIN)
    waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
    async with city.owner.transaction():
        await disable_user(city.owner, "rival")
        other = asyncio.create_task(disable_user(city.api, "boss"), name="test.other")
        async with asyncio.timeout(10):
            while not other.done() and not await superuser.fetchval(waiting):  # noqa: ASYNC110 - locks tell nobody
                await asyncio.sleep(0.01)
    with pytest.raises(LastAdminError):
        await other


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"name": "a b", "role": "viewer"}, "letters of a to z"),
        ({"name": "анна", "role": "viewer"}, "letters of a to z"),
        ({"name": "1000", "role": "viewer"}, "digits alone"),
        ({"name": "a", "role": "king"}, "role"),
        ({"name": "a", "role": "viewer", "districts": ["gaet"]}, 'did you mean \\"gate\\"'),
        ({"name": "a", "role": "admin", "kinds": ["noise"]}, "the whole city"),
        ({"name": "a", "role": "viewer", "password": "short"}, "fewer than 12"),
        ({"name": "gate-control-room", "role": "viewer", "password": "Gate-Control-Room"}, "is the name"),
    ],
)
async def test_who_can_not_be_added_is_said(
    boss: httpx2.AsyncClient, body: dict[str, Any], part: str
) -> None:
    answer = await boss.post("/api/v1/users", json=body)
    assert answer.status_code == 422
    assert part in answer.text


async def test_a_name_is_given_once(boss: httpx2.AsyncClient, city: City) -> None:
    await add_person(city, "fay")
    refused = await boss.post("/api/v1/users", json={"name": "Fay", "role": "viewer"})
    problem(refused, 409, "conflict")


@pytest.mark.parametrize("name", ["nobody", "no%20name", "%00"])
async def test_nobody_is_not_changed(boss: httpx2.AsyncClient, name: str) -> None:
    for change, body in CHANGES.items():
        method = "POST" if change else "DELETE"
        answer = await boss.request(method, f"/api/v1/users/{name}{change}", json=body)
        problem(answer, 404, "not-found")


async def test_an_operator_neither_adds_anybody_nor_raises_themselves(
    boss: httpx2.AsyncClient, city: City
) -> None:
    await add_person(city, "gus", Role.OPERATOR)
    async with visitor(boss) as gus:
        await signed_in(gus, "gus")
        for path, body in (
            ("", {"name": "x", "role": "admin"}),
            ("/gus/role", {"role": "admin", "districts": None, "kinds": None}),
        ):
            problem(await gus.post(f"/api/v1/users{path}", json=body), 403, "forbidden")


async def test_who_signs_in_elsewhere_is_found_by_the_subject_and_has_no_password(
    boss: httpx2.AsyncClient, city: City
) -> None:
    new = NewUser("hal", issuer="https://login.example", subject="17")
    assert await add_user(city.owner, new) is not None
    assert await add_user(city.owner, dataclasses.replace(new, name="another")) is None
    found = await hold_by_subject(city.owner, "https://login.example", "17")
    assert found is not None
    assert (found.name, found.has_password) == ("hal", False)
    assert await hold_by_subject(city.owner, "https://other.example", "17") is None
    async with visitor(boss) as hal:
        problem(await sign_in(hal, "hal"), 401, "unauthorized")


async def test_who_signs_in_elsewhere_is_given_no_password_and_one_from_before_is_none(
    boss: httpx2.AsyncClient, city: City
) -> None:
    new = NewUser("hans", issuer="https://login.example", subject="18", password_hash=CHEAP.hash(PASSWORD))
    assert await add_user(city.owner, new) is not None
    told = problem(await boss.post("/api/v1/users/hans/password", json={}), 409, "conflict")["detail"]
    assert "signs in at https://login.example" in told
    with pytest.raises(SignsInElsewhereError):
        await set_password(city.owner, "hans", CHEAP.hash(PASSWORD))
    listed = (await boss.get("/api/v1/users")).json()["users"]
    assert [one["has_password"] for one in listed if one["name"] == "hans"] == [False]
    async with visitor(boss) as hans:
        problem(await sign_in(hans, "hans"), 401, "unauthorized")


async def test_a_password_that_was_changed_while_it_was_compared_opens_no_session(city: City) -> None:
    user = await add_person(city, "ida")
    found = await find_user(city.owner, "ida")
    assert found is not None
    await set_password(city.owner, "ida", CHEAP.hash("other-words-of-hers"))
    assert not await note_sign_in(city.owner, user.user_id, "192.0.2.1", NOW, found[1])
    await disable_user(city.owner, "ida")
    assert not await note_sign_in(city.owner, user.user_id, "192.0.2.1", NOW)


async def test_where_there_is_somebody_no_first_one_is_added(boss: httpx2.AsyncClient, city: City) -> None:
    async with city.owner.transaction():
        assert await add_first_user(city.owner, NewUser("admin", Role.ADMIN)) is None


async def test_the_role_of_the_api_may_do_to_people_no_more_than_its_work(city: City) -> None:
    for statement in (
        "UPDATE alatau.user_account SET created_by = 'x'",
        "UPDATE alatau.user_account SET subject = 'x', issuer = 'y'",
        "UPDATE alatau.user_session SET expires_at = 'infinity'",
        "UPDATE alatau.user_session SET user_id = 1",
        "TRUNCATE alatau.user_session",
    ):
        with pytest.raises(Exception, match="permission denied"):
            await city.api.execute(statement)
    for table in ("alatau.user_account", "alatau.user_session"):
        with pytest.raises(Exception, match="permission denied"):
            await city.ingest.execute(f"SELECT FROM {table}")


@pytest.mark.parametrize(
    "password",
    [
        "password1234",
        "P@ssw0rd!2026",
        "qwertyuiop12",
        "123456789012",
        "210987654321",
        "aaaaaaaaaaaa",
        "abcabcabcabc",
        "correct1correct1",
        "alatau-admin-2026",
        "анна-пароль-1",
        "пароль123456",
        "Anna-Password-1",
    ],
)
def test_what_is_tried_first_is_no_password(password: str) -> None:
    assert "tried first" in (objection(password, "anna") or objection(password, "анна") or "")


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "kettle-orbit-2-fjord",
        "жёлтый мост утром",
        pytest.param(generate_password(), id="generated"),
    ],
)
def test_what_nobody_guesses_is_one_whatever_it_is_made_of(password: str) -> None:
    assert objection(password, "anna") is None
