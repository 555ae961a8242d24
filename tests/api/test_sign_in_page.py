"""The page on which people sign in, as a browser gets it."""

from __future__ import annotations

import re

import httpx2
import pytest

FILES = {"": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"}


@pytest.mark.parametrize("path", FILES)
async def test_a_file_of_the_page_is_sent_to_anybody_and_kept_by_nobody_unasked(
    client: httpx2.AsyncClient, path: str
) -> None:
    answer = await client.get(f"/sign-in{path}", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == FILES[path]
    assert answer.headers["cache-control"] == "private, no-cache"


async def test_the_page_runs_and_loads_nothing_but_what_is_ours(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/sign-in")
    policy = dict(one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert {policy["script-src"], policy["style-src"], policy["connect-src"]} == {"'self'"}
    page = answer.text
    assert "://" not in page
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    for source in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert (await client.get(source)).status_code == 200, source


async def test_every_field_has_a_label_and_a_password_manager_knows_it(client: httpx2.AsyncClient) -> None:
    page = (await client.get("/sign-in")).text
    fields = dict(re.findall(r'<input id="(\w+)"[^>]*autocomplete="([\w-]+)"', page))
    assert fields == {"name": "username", "password": "current-password"}
    assert set(re.findall(r'<label for="(\w+)"', page)) == set(fields)


async def test_where_a_page_names_no_icon_browsers_find_one(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/favicon.ico", headers={"Authorization": ""}, follow_redirects=True)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
