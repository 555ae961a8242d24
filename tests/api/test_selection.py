"""What is said of places and tags that are written wrongly."""

from __future__ import annotations

import httpx2
import pytest

from tests.api.answers import fetch, problem

SELECTING = ("latest", "quality", "top?metric=pm2_5", "heatmap?metric=pm2_5")


@pytest.mark.parametrize(
    ("parameter", "value", "says"),
    [
        ("bbox", "1,2,3", "not 4 numbers"),
        ("bbox", "a,2,3,4", "west,south,east,north"),
        ("bbox", "76,44,77,43", "south, 44, is above north, 43"),
        ("bbox", "43,76,44,97", "longitude comes first"),
        ("bbox", "nan,43,77,44", "not 4 numbers"),
        ("near", "77,43.48", "not 3 numbers"),
        ("near", "77,143.48,1", "longitude comes first"),
        ("near", "77,43.48,-1", "not 0 to 20000000 metres"),
        ("near", "77,43.48,1e9", "not 0 to 20000000 metres"),
        ("polygon", "", "not 2 numbers"),
        ("polygon", "76,43 77,43", "2 vertices are not 3 to 500"),
        ("polygon", "76,43 77,43 76,43", "2 vertices are not 3 to 500"),
        ("polygon", " ".join(f"76,{n / 10}" for n in range(501)), "501 vertices"),
        ("polygon", "76 43,77 43,77 44", "longitude,latitude with spaces between"),
        ("tag", "pole", "not name:value"),
        ("tag", ":7", "not name:value"),
        ("tag", "po\0le:7", "not name:value"),
        ("tag", [f"t{n}:1" for n in range(21)], "21 tags are more than 20"),
        ("kind", "air_qualty", 'did you mean "air_quality"?'),
        ("district", "gat", 'did you mean "gate"?'),
        ("device", "air-11", 'did you mean "air-1"?'),
    ],
)
async def test_a_selection_that_is_not_valid_is_refused_with_what_is(
    client: httpx2.AsyncClient, parameter: str, value: str | list[str], says: str
) -> None:
    response = await client.get("/api/v1/latest", params={parameter: value})
    refused = problem(response, 422, "invalid-parameter")
    assert refused["parameter"] == parameter
    assert says in refused["detail"]


@pytest.mark.parametrize("path", SELECTING)
async def test_every_question_about_devices_takes_the_same_selection(
    client: httpx2.AsyncClient, path: str
) -> None:
    place, _, query = path.partition("?")
    selection = {
        "kind": "air_quality",
        "district": "gate",
        "device": "air-1,air-2",
        "simulated": "false",
        "bbox": "76,43,78,44",
        "near": "77.0,43.48,1000",
        "polygon": "76,43;78,43;77,45",
        "tag": "pole:7",
    }
    assert await fetch(client, place, **selection, **dict([query.split("=")] if query else []))
