"""Corrections over HTTP: made on record under the key's name, tried, refused, listed."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import httpx2
import pytest

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from storage.api_keys import generate_key, store_key
from storage.devices import register_devices
from tests.api.answers import NOW, every_page, fetch, problem
from tests.api.conftest import Served
from tests.cities import City

pytestmark = pytest.mark.servers

HOUR = dt.timedelta(hours=1)
_numbers = itertools.count(1)


@pytest.fixture
async def meter(city: City, catalogue: Catalogue) -> str:
    """A device of its own with a reading at each of the last five hours, laeq 41 to 45."""
    name = f"corrected-{next(_numbers)}"
    city.number.update(await register_devices(city.owner, [DeviceSpec(name, "noise", "gate")], catalogue))
    await city.write("noise", [(name, NOW - n * HOUR, {"laeq": 40.0 + n}) for n in range(1, 6)])
    return name


def body(device: str, **fields: Any) -> dict[str, Any]:
    """Return the body of a correction of the last two and a half hours."""
    given = {"device": device, "start": "-PT150M", "end": "now", "action": "delete", "why": "test"}
    return given | fields


async def post(client: httpx2.AsyncClient, content: dict[str, Any]) -> httpx2.Response:
    return await client.post("/api/v1/corrections", json=content)


async def values(client: httpx2.AsyncClient, device: str) -> list[float | None]:
    found: list[float | None] = (await fetch(client, "readings", device=device))["values"]["laeq"]
    return found


async def test_a_deletion_is_made_and_on_record(client: httpx2.AsyncClient, meter: str) -> None:
    made = await post(client, body(meter))
    assert made.status_code == 201
    number = made.json()["id"]
    assert made.json() == {"id": number, "changed": 0, "deleted": 2}
    assert await values(client, meter) == [45, 44, 43]
    (found,) = (await fetch(client, "corrections", device=meter))["corrections"]
    assert found.pop("at").endswith("Z")
    assert found == {
        "id": number,
        "by": "test",
        "why": "test",
        "device": meter,
        "kind": "noise",
        "start": "2026-01-15T09:30:00Z",
        "end": "2026-01-15T12:00:00Z",
        "action": "delete",
        "metric": None,
        "changed": 0,
        "deleted": 2,
    }


async def test_who_asks_for_changed_latest_values_hears_of_a_correction(
    client: httpx2.AsyncClient, meter: str
) -> None:
    cursor = (await fetch(client, "latest", kind="noise", limit=1000))["cursor"]
    await post(client, body(meter))
    changed = (await fetch(client, "latest", kind="noise", limit=1000, since=cursor))["devices"]
    assert {one["device"]: one["values"]["laeq"]["value"] for one in changed}[meter] == 43


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"set": 50}, [45, 44, 43, 50, 50]),
        ({"offset": -1.5}, [45, 44, 43, 40.5, 39.5]),
        ({"scale": 2, "offset": 1}, [45, 44, 43, 85, 83]),
    ],
    ids=str,
)
async def test_values_are_amended(
    client: httpx2.AsyncClient, meter: str, fields: dict[str, float], expected: list[float]
) -> None:
    made = await post(client, body(meter, action="amend", metric="laeq", **fields))
    assert (made.status_code, made.json()["changed"]) == (201, 2)
    assert await values(client, meter) == expected
    (found,) = (await fetch(client, "corrections", device=meter))["corrections"]
    assert (found["action"], found["metric"]) == ("amend", "laeq")
    assert {name: found[name] for name in fields} == fields


async def test_the_record_names_the_key(client: httpx2.AsyncClient, city: City, meter: str) -> None:
    key = generate_key()
    await store_key(city.owner, key, "anna's notebook")
    for number in range(2):  # asked of the database, and remembered
        content = body(meter, start=f"-PT{90 + 60 * number}M", end="now")
        made = await client.post(
            "/api/v1/corrections", json=content, headers={"Authorization": f"Bearer {key}"}
        )
        assert made.status_code == 201
    found = (await fetch(client, "corrections", device=meter))["corrections"]
    assert [one["by"] for one in found] == ["anna's notebook"] * 2


async def test_a_trial_changes_nothing(client: httpx2.AsyncClient, meter: str) -> None:
    tried = await post(client, body(meter, dry_run=True))
    assert tried.status_code == 200
    assert tried.json() == {"id": None, "changed": 0, "deleted": 2}
    assert len(await values(client, meter)) == 5
    assert (await fetch(client, "corrections", device=meter))["corrections"] == []


async def test_what_changes_nothing_makes_no_record(client: httpx2.AsyncClient, meter: str) -> None:
    made = await post(client, body(meter, metric="lamax"))
    assert made.status_code == 200
    assert made.json() == {"id": None, "changed": 0, "deleted": 0}


async def test_values_that_are_not_plausible_are_refused_unless_forced(
    client: httpx2.AsyncClient, meter: str
) -> None:
    content = body(meter, action="amend", metric="laeq", scale=100)
    document = problem(await post(client, content), 422, "invalid-parameter")
    assert document["parameter"] == "scale"
    assert "2 values would lie outside of the plausible 0 to 160" in document["detail"]
    assert (await post(client, content | {"force": True})).status_code == 201
    assert await values(client, meter) == [45, 44, 43, 4200, 4100]


async def test_what_retention_let_go_is_not_corrected(
    client: httpx2.AsyncClient, city: City, meter: str
) -> None:
    await city.owner.execute(
        """
        INSERT INTO alatau.rollup_progress (kind, zone, logged_to, horizon)
        VALUES ('noise', 'Asia/Almaty', '-infinity', $1)
        """,
        NOW - 2 * HOUR,
    )
    try:
        document = problem(await post(client, body(meter)), 422, "invalid-parameter")
    finally:
        await city.owner.execute("DELETE FROM alatau.rollup_progress")
    assert document["parameter"] == "start"
    assert "begin at 2026-01-15T10:00:00Z or later" in document["detail"]


@pytest.mark.parametrize(
    ("fields", "slug", "said"),
    [
        ({"metric": "leaq"}, "invalid-parameter", 'did you mean "laeq"?'),
        ({"metric": "pm2_5"}, "invalid-parameter", "metric: "),
        ({"start": "now", "end": "-PT1H"}, "invalid-parameter", "is not before end"),
        ({"action": "remove"}, "invalid-body", "action: "),
        ({"action": "amend"}, "invalid-body", "metric: say which one"),
        ({"action": "amend", "metric": "laeq"}, "invalid-body", "give either set, or scale"),
        ({"action": "amend", "metric": "laeq", "set": 1, "scale": 2}, "invalid-body", "give either set"),
        ({"set": 1}, "invalid-body", 'go with "action": "amend"'),
        ({"why": ""}, "invalid-body", "why: "),
        ({"wy": "x"}, "invalid-body", 'did you mean "why"?'),
    ],
    ids=str,
)
async def test_what_is_not_valid_is_refused_with_what_to_say_instead(
    client: httpx2.AsyncClient, meter: str, fields: dict[str, Any], slug: str, said: str
) -> None:
    document = problem(await post(client, body(meter, **fields)), 422, slug)
    assert said in document["detail"]
    assert len(await values(client, meter)) == 5


async def test_a_device_that_there_is_none_of_is_refused_with_the_nearest(client: httpx2.AsyncClient) -> None:
    document = problem(await post(client, body("weather-2")), 422, "invalid-parameter")
    assert (document["parameter"], document["nearest"]) == ("device", "weather-1")


async def test_without_a_key_nothing_is_corrected(application: Served, meter: str) -> None:
    async with application(key=None) as client:
        problem(await post(client, body(meter)), 401, "unauthorized")


async def test_corrections_are_listed_newest_first_page_by_page(
    client: httpx2.AsyncClient, meter: str
) -> None:
    numbers = [(await post(client, body(meter, start=f"-PT{n}H", end="now"))).json()["id"] for n in (1, 3, 5)]
    pages = await every_page(client, "corrections", device=meter, limit=2)
    assert [one["id"] for page in pages for one in page["corrections"]] == numbers[::-1]
    assert (await fetch(client, "corrections", kind="weather"))["corrections"] == []


@pytest.mark.parametrize(("query", "nearest"), [("kind=nois", "noise"), ("limt=1", "limit")])
async def test_a_filter_that_is_not_known_is_refused_with_the_nearest(
    client: httpx2.AsyncClient, query: str, nearest: str
) -> None:
    answer = await client.get(f"/api/v1/corrections?{query}")
    assert answer.status_code == 422
    assert answer.json()["nearest"] == nearest


async def test_a_cursor_of_another_list_is_refused(client: httpx2.AsyncClient) -> None:
    cursor = (await fetch(client, "devices", limit=1))["next"]
    problem(await client.get(f"/api/v1/corrections?cursor={cursor}"), 422, "invalid-parameter")
