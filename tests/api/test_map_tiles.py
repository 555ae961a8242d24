"""The operator's own base map: who gets it, in which pieces, and what is said of files that can't be drawn."""

from __future__ import annotations

import asyncio
import os
import pathlib
from typing import Any

import httpx2
import pytest

from api.map_tiles import MOST_BYTES
from api.pmtiles import ArchiveError, Schema, open_archive
from tests.api.answers import problem
from tests.api.conftest import Served
from tests.base_maps import archive, layer, protomaps

WHOLE = protomaps(77.0, 43.6)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "city.pmtiles"
    path.write_bytes(WHOLE)
    return path


async def tiles(client: httpx2.AsyncClient) -> Any:
    answer = await client.get("/ui/map")
    assert answer.status_code == 200
    return answer.json()["tiles"]


async def test_a_range_is_what_the_file_has_there(application: Served, path: pathlib.Path) -> None:
    async with application(map_tiles=path) as client:
        found = await tiles(client)
        assert (found["schema"], found["zooms"], found["bounds"]) == (
            "protomaps",
            [0, 0],
            [-180, -85, 180, 85],
        )
        for asked, first, last in (("0-126", 0, 126), ("5-5", 5, 5), ("0-16383", 0, len(WHOLE) - 1)):
            answer = await client.get(found["path"], headers={"Range": f"bytes={asked}"})
            assert (answer.status_code, answer.content) == (206, WHOLE[first : last + 1])
            assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(WHOLE)}"
            assert "content-encoding" not in answer.headers
        known = {"Range": "bytes=0-9", "If-None-Match": answer.headers["etag"]}
        again = await client.get(found["path"], headers=known)
        assert (again.status_code, again.content) == (304, b"")
        beyond = await client.get(found["path"], headers={"Range": f"bytes={len(WHOLE)}-{len(WHOLE) + 9}"})
        problem(beyond, 416, "out-of-range")
        assert beyond.headers["content-range"] == f"bytes */{len(WHOLE)}"


async def test_no_answer_is_larger_than_some_tiles(application: Served, path: pathlib.Path) -> None:
    with path.open("ab") as file:
        file.truncate(2 * MOST_BYTES)
    async with application(map_tiles=path) as client:
        address = (await tiles(client))["path"]
        whole = await client.get(address, headers={"Range": f"bytes=0-{MOST_BYTES - 1}"})
        assert len(whole.content) == MOST_BYTES
        for asked in (
            f"bytes=0-{MOST_BYTES}",
            "bytes=0-",
            "bytes=-9",
            "bytes=9-0",
            "bytes=0-1,4-5",
            "lines=0-1",
        ):
            problem(await client.get(address, headers={"Range": asked}), 422, "too-large")
        problem(await client.get(address), 422, "too-large")
        problem(
            await client.get(address, headers={"Range": "bytes=0-9", "If-Range": '"other"'}), 422, "too-large"
        )


async def test_only_who_is_signed_in_gets_it_and_no_other_file(
    application: Served, path: pathlib.Path
) -> None:
    async with application(map_tiles=path) as client:
        address = (await tiles(client))["path"]
        for asked in ("/ui/map", address):
            problem(await client.get(asked, headers={"Authorization": ""}), 401, "unauthorized")
        for asked in ("/ui/map/city.pmtiles", "/ui/map/..%2Fcity.pmtiles", f"/ui/map/{path}"):
            answer = await client.get(asked, headers={"Range": "bytes=0-9"})
            assert answer.status_code == 404, asked


async def test_another_file_has_another_address_and_one_that_is_gone_none(
    application: Served, path: pathlib.Path
) -> None:
    async with application(map_tiles=path) as client:
        address = (await tiles(client))["path"]
        os.utime(path, ns=(1, 1))
        assert (await tiles(client))["path"] != address
        problem(await client.get(address, headers={"Range": "bytes=0-9"}), 404, "not-found")
        await asyncio.to_thread(path.unlink)
        assert await tiles(client) is None
    async with application() as client:
        assert await tiles(client) is None


def test_whose_data_it_is_is_said_in_words_without_markup(path: pathlib.Path) -> None:
    assert open_archive(path).attribution == "© OpenStreetMap 2026"


def test_layers_of_openmaptiles_are_known_too(path: pathlib.Path) -> None:
    path.write_bytes(
        archive({"transportation": layer("transportation", "class", {"rail": [(0, 0), (9, 9)]})})
    )
    assert open_archive(path).schema is Schema.OPENMAPTILES


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not a PMTiles archive"),
        (WHOLE.replace(b"PMTiles\x03", b"PMTiles\x02"), "is not a PMTiles archive of version 3"),
        (WHOLE[:-1], "is cut off"),
        (archive({"water": b""}, kind=2), "has pictures in it"),
        (archive({"water": b""}), "has neither"),
        (WHOLE[:97] + b"\x04" + WHOLE[98:], "compressed by zstd"),
        (WHOLE[:97] + b"\x01" + WHOLE[98:], "no metadata"),
    ],
)
def test_a_file_that_can_not_be_drawn_is_refused_by_name_and_with_what_to_do(
    path: pathlib.Path, content: bytes, said: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(ArchiveError) as refused:
        open_archive(path)
    assert said in refused.value.message
    assert refused.value.message.startswith(str(path))
    assert refused.value.remedy
