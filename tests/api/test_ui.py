"""The dashboard's files: what they weigh, how long they are kept, and what their policy lets run."""

from __future__ import annotations

import gzip
import json
import pathlib
import re

import httpx2
import pytest

from api.ui import read_site
from sensors.catalogue import Catalogue
from sensors.fleet import contains, plan_fleet

FOLDER = pathlib.Path("dashboard")
# Plural forms by CLDR.
FORMS = {"en": {"one", "other"}, "ru": {"one", "few", "many", "other"}, "kk": {"one", "other"}}
OPEN = {"Authorization": ""}
# In text that a script makes of a name, what the name may be.
_KEY = re.compile(r"""\bt\(\s*"([a-z_0-9.-]+)\"""")


@pytest.fixture(scope="module")
def texts() -> dict[str, dict[str, str]]:
    return {name: json.loads((FOLDER / f"locales/{name}.json").read_text()) for name in FORMS}


def bases(texts: dict[str, str], language: str) -> set[str]:
    """Return the keys, those of plural forms without their form."""
    found = set()
    for key in texts:
        base, _, form = key.rpartition(".")
        is_plural = form in FORMS[language] and f"{base}.other" in texts
        found.add(base if is_plural else key)
    return found


def test_a_russian_form_of_one_says_the_number_which_may_be_twenty_one(
    texts: dict[str, dict[str, str]],
) -> None:
    ru = texts["ru"]
    silent = [key for key, text in ru.items() if key.endswith(".one") and "{n}" not in text]
    assert [key for key in silent if "{n}" in ru[key.removesuffix("one") + "many"]] == []


async def test_the_root_leads_to_it_and_any_view_is_the_same_page(client: httpx2.AsyncClient) -> None:
    root = await client.get("/", headers=OPEN)
    assert (root.status_code, root.headers["location"]) == (307, "/ui")
    pages = [
        (await client.get(path, headers=OPEN)).text for path in ("/ui", "/ui/", "/ui/devices?state=silent")
    ]
    assert len(set(pages)) == 1


async def test_a_file_is_sent_as_small_as_gzip_makes_it(client: httpx2.AsyncClient) -> None:
    path = "vendor/maplibre-gl-6.17.0/maplibre-gl.mjs"
    content = read_site().files[path]
    browser = {**OPEN, "Accept-Encoding": "gzip, deflate, br, zstd"}
    async with client.stream("GET", f"/ui/{path}", headers=browser) as answer:
        sent = b"".join([part async for part in answer.aiter_raw()])
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(sent) == content
    assert len(sent) <= len(gzip.compress(content))
    plain = await client.get(f"/ui/{path}", headers={**OPEN, "Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == content


async def test_the_page_is_asked_about_each_time_and_its_files_never_again(
    client: httpx2.AsyncClient,
) -> None:
    page = await client.get("/ui", headers=OPEN)
    assert page.headers["cache-control"] == "no-cache"
    again = await client.get("/ui", headers={**OPEN, "If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    sources = re.findall(r'(?:src|href)="(/ui/[^"#]+)"', page.text)
    assert len(sources) > 5
    for source in sources:
        answer = await client.get(source, headers=OPEN)
        assert answer.status_code == 200, source
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable", source


async def test_a_file_of_another_version_is_not_mixed_with_this_one(client: httpx2.AsyncClient) -> None:
    version = read_site().version
    assert (await client.get(f"/ui/assets/{version}/app.js", headers=OPEN)).status_code == 200
    for path in (
        f"assets/{'0' * len(version)}/app.js",
        f"assets/{version}/index.html",
        f"assets/{version}/no.js",
    ):
        assert (await client.get(f"/ui/{path}", headers=OPEN)).status_code == 404, path


@pytest.mark.parametrize(
    "path", ["../pyproject.toml", "%2e%2e/pyproject.toml", "assets/x/../../__init__.py", "__init__.py"]
)
async def test_nothing_but_the_page_s_own_files_is_sent(client: httpx2.AsyncClient, path: str) -> None:
    assert (await client.get(f"/ui/{path}", headers=OPEN)).status_code == 404


async def test_the_policy_runs_our_files_and_nothing_else(client: httpx2.AsyncClient) -> None:
    policy = (await client.get("/ui", headers=OPEN)).headers["content-security-policy"]
    rules = dict(one.split(" ", 1) for one in policy.split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
    for kind in ("script-src", "style-src", "connect-src", "worker-src", "font-src"):
        assert rules[kind] == "'self'"
    assert "unsafe" not in policy
    assert "blob:" not in policy
    page = read_site().files["index.html"].decode()
    assert "://" not in page
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)


def test_each_file_of_others_has_its_version_and_licence_beside_it() -> None:
    folders = [path for path in (FOLDER / "vendor").iterdir() if path.is_dir()]
    assert folders
    for folder in folders:
        assert re.fullmatch(r"[a-z-]+-\d+\.\d+\.\d+", folder.name)
        assert list(folder.glob("LICENSE*")), folder


@pytest.mark.parametrize("language", FORMS)
def test_every_text_is_there_in_every_language(texts: dict[str, dict[str, str]], language: str) -> None:
    english, own = bases(texts["en"], "en"), bases(texts[language], language)
    assert english - own == set()
    plural = {key.rpartition(".")[0] for key in texts["en"] if key.endswith(".other")}
    for base in plural:
        forms = {form for form in FORMS[language] if f"{base}.{form}" in texts[language]}
        assert forms in (FORMS[language], {"other"}), base


def test_texts_of_a_key_have_the_same_places_in_every_language(texts: dict[str, dict[str, str]]) -> None:
    def places(text: str) -> set[str]:
        return set(re.findall(r"\{(\w+)\}", text))

    for language in ("ru", "kk"):
        for key, text in texts[language].items():
            if key in texts["en"]:
                # One of something may be said without its figure.
                assert places(text) - {"n"} == places(texts["en"][key]) - {"n"}, (language, key)


def test_every_text_that_a_script_asks_for_is_there(texts: dict[str, dict[str, str]]) -> None:
    known = bases(texts["en"], "en")
    for path in FOLDER.rglob("*.js"):
        if "vendor" not in path.parts:
            asked = set(_KEY.findall(path.read_text()))
            assert asked - known == set(), path


def test_districts_hold_their_devices_and_the_base_map_drowns_none(catalogue: Catalogue) -> None:
    base = json.loads((FOLDER / "map/alatau.geojson").read_text())
    assert base["city"] == catalogue.city.name
    assert {one["properties"]["kind"] for one in base["features"]} >= {
        "reservoir",
        "river",
        "railway",
        "highway",
    }
    (water,) = (
        one["geometry"]["coordinates"][0]
        for one in base["features"]
        if one["properties"]["kind"] == "reservoir"
    )
    ring = tuple((longitude, latitude) for longitude, latitude in water[:-1])
    for device in plan_fleet(catalogue, 1040):
        assert device.position is not None
        assert contains(catalogue.district_of[device.district].outline, device.position), device.id
        assert not contains(ring, device.position), device.id
