"""A device is connected on the page, and what comes of its messages is seen there."""

from __future__ import annotations

import asyncio
import json
import pathlib
import shlex
import sys
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Page, expect

from tests.dashboard.city import Town
from tests.dashboard.conftest import Visitor
from tests.dashboard.visits import Visit

pytestmark = pytest.mark.servers

Run = Callable[[str], Awaitable[None]]


async def register(visit: Visit, device: str, kind: str = "noise") -> None:
    """Fill in the form as an operator does, and wait for the account."""
    page = visit.page
    await visit.open(f"/ui/connect?kind={kind}&district=gate")
    await page.get_by_label("Id", exact=True).fill(device)
    await page.get_by_role("button", name="Register and get the secret").click()
    await expect(page.get_by_role("heading", name=device)).to_be_visible()


async def program(page: Page, title: str) -> str:
    """Return what a tab shows."""
    await page.get_by_role("tab", name=title, exact=True).click()
    return await page.get_by_role("tabpanel", name=title, exact=True).locator("pre").inner_text()


async def save_authority(page: Page, directory: pathlib.Path) -> None:
    """Put the certificate where the programs look for it, by the page's own link."""
    async with page.expect_download() as started:
        await page.get_by_role("link", name="Download ca.pem").click()
    download = await started.value
    assert download.suggested_filename == "ca.pem"
    await download.save_as(directory / "ca.pem")


async def send(town: Town, line: str, directory: pathlib.Path) -> None:
    """Run a line for the shell as it is shown, with the client that the servers came with."""
    client, *words = shlex.split(line)
    assert client == "mosquitto_pub"
    sent = await asyncio.create_subprocess_exec(
        town.place.stack.servers.mosquitto_pub, *words, cwd=directory, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await sent.communicate()
    assert (sent.returncode, complaint) == (0, b"")


async def test_a_device_is_connected_and_its_messages_come_with_verdicts(
    visitor: Visitor, town: Town, tmp_path: pathlib.Path
) -> None:
    visit = await visitor()
    page = visit.page
    await register(visit, "noise-new-1")
    await save_authority(page, tmp_path)
    line = await program(page, "mosquitto_pub")
    log = page.get_by_role("log", name="Messages")
    await expect(page.get_by_text("Waiting for its first message")).to_be_visible()

    await send(town, line, tmp_path)
    stored = log.get_by_role("listitem").filter(has_text="Stored")
    await expect(stored).to_have_count(1)
    latest = (await visit.ask("latest?device=noise-new-1"))["devices"][0]["values"]
    assert {metric: one["value"] for metric, one in latest.items()} == dict.fromkeys(
        ("laeq", "lamax", "la90"), 20.0
    )

    await send(town, line.replace('"laeq"', '"leaq"'), tmp_path)
    refused = log.get_by_role("listitem").filter(has_text="Refused")
    await expect(refused).to_have_count(1)
    letter = (await visit.ask("dead-letters?device=noise-new-1"))["dead_letters"][0]
    assert letter["reason"] == "unknown_metric"
    await expect(refused).to_contain_text("Unknown metric")
    await expect(refused).to_contain_text(letter["detail"])
    await expect(refused).to_contain_text('did you mean "laeq"?')
    await expect(refused.locator("pre")).to_have_text(letter["payload_text"])
    # What was good of it was kept.
    await expect(stored).to_have_count(2)
    await expect(page.get_by_text("2 stored, 1 refused")).to_be_visible()


async def test_the_program_in_python_sends_as_it_is_pasted(
    visitor: Visitor, town: Town, tmp_path: pathlib.Path
) -> None:
    visit = await visitor()
    page = visit.page
    await register(visit, "noise-new-2")
    await save_authority(page, tmp_path)
    (tmp_path / "device.py").write_text(await program(page, "Python"))
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "device.py"), cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    try:
        await expect(page.get_by_role("log").get_by_text("Stored")).to_have_count(1)
    finally:
        running.terminate()
        said, _ = await running.communicate()
    assert "connected: Success" in said.decode()
    assert "sent: " in said.decode()


async def test_a_secret_is_shown_once_and_a_new_one_ends_the_old(
    visitor: Visitor, town: Town, tmp_path: pathlib.Path
) -> None:
    visit = await visitor()
    page = visit.page
    await register(visit, "noise-new-3")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy: Secret").click()
    await expect(page.get_by_role("button", name="Copy: Secret")).to_have_text("Copied")
    secret = await page.evaluate("navigator.clipboard.readText()")
    assert secret in await program(page, "ESP-IDF")
    await page.reload()
    await expect(page.get_by_text("The secret was shown when it was made")).to_be_visible()
    assert secret not in await page.content()
    await page.get_by_role("button", name="New secret").click()
    await page.get_by_role("button", name="Make a new secret").click()
    line = await program(page, "mosquitto_pub")
    assert secret not in line
    await save_authority(page, tmp_path)
    await send(town, line, tmp_path)
    await expect(page.get_by_role("log").get_by_text("Stored")).to_have_count(1)
    await page.get_by_role("link", name="Device page").click()
    await page.go_back()
    await expect(page.get_by_text("The secret was shown when it was made")).to_be_visible()


async def test_what_a_device_sends_is_shown_as_text_and_run_by_nobody(visitor: Visitor, town: Town) -> None:
    visit = await visitor()
    await visit.open("/ui/connect?device=sim-noise-gate-0001")
    await expect(visit.page.get_by_text("Waiting for its next message")).to_be_visible()
    script = "<img src=/nothing onerror=document.title='taken'>"
    town.publish("sim-noise-gate-0001", {script: 1})
    refused = visit.page.get_by_role("log").get_by_role("listitem")
    await expect(refused).to_contain_text(f'noise has no metric "{script}"')
    assert await visit.page.title() == "sim-noise-gate-0001 · Alatau"


async def test_messages_come_also_without_the_stream(visitor: Visitor, town: Town) -> None:
    visit = await visitor()
    visit.guard.expect("status of 503")
    await visit.page.route("**/api/v1/stream?**", lambda route: route.fulfill(status=503))
    await visit.open("/ui/connect?device=sim-noise-golden-0001")
    await expect(visit.page.get_by_text("Waiting for its next message")).to_be_visible()
    town.publish("sim-noise-golden-0001", {"laeq": 51.5})
    await expect(visit.page.get_by_role("log")).to_contain_text("Equivalent noise level 51.5 dB")


async def test_what_the_platform_refuses_is_said_beside_the_button_and_nothing_typed_is_lost(
    visitor: Visitor,
) -> None:
    visit = await visitor()
    page = visit.page
    visit.guard.expect("status of 409")
    await visit.open("/ui/connect?kind=weather&district=green")
    assert await page.get_by_label("Kind").input_value() == "weather"
    taken = page.get_by_label("Id", exact=True)
    await taken.fill("sim-noise-gate-0001")
    await page.get_by_label("Longitude").fill("77")
    await page.get_by_label("Latitude").fill("43.5")
    await page.get_by_role("button", name="Register and get the secret").click()
    await expect(page.get_by_role("alert")).to_contain_text('has the id "sim-noise-gate-0001" already')
    assert await taken.input_value() == "sim-noise-gate-0001"
    await taken.fill("weather-new-1")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="weather-new-1")).to_be_visible()
    device = await visit.ask("devices/weather-new-1")
    assert (device["kind"], device["district"], device["position"]) == ("weather", "green", [77.0, 43.5])


async def test_a_place_is_chosen_by_pointing_at_the_picture(visitor: Visitor) -> None:
    visit = await visitor()
    page = visit.page
    await visit.open("/ui/connect?kind=noise&district=golden")
    await page.locator(".chooser polygon[data-own='']").click()
    place = [float(await page.get_by_label(name).input_value()) for name in ("Longitude", "Latitude")]
    districts = (await visit.ask("districts"))["districts"]
    outline = next(one["outline"] for one in districts if one["name"] == "golden")
    for axis in (0, 1):
        edges = [corner[axis] for corner in outline]
        assert min(edges) < place[axis] < max(edges)


async def test_it_goes_by_the_keyboard_alone(visitor: Visitor) -> None:
    visit = await visitor()
    page = visit.page
    await visit.open("/ui/connect")
    await page.get_by_label("Kind").focus()
    await page.keyboard.type("Noise")
    await expect(page.get_by_role("table", name="What it can send")).to_contain_text("laeq")
    await page.get_by_label("Id", exact=True).fill("noise-new-4")
    button = page.get_by_role("button", name="Register and get the secret")
    for _ in range(4):  # longitude, latitude, interval
        await page.keyboard.press("Tab")
    await expect(button).to_be_focused()
    await page.keyboard.press("Enter")
    shell = page.get_by_role("tab", name="mosquitto_pub")
    await shell.focus()
    for key, title in (("ArrowRight", "Python"), ("End", "Arduino"), ("ArrowRight", "mosquitto_pub")):
        await page.keyboard.press(key)
        await expect(page.get_by_role("tab", name=title, exact=True)).to_be_focused()
        await expect(page.get_by_role("tab", name=title, exact=True)).to_have_attribute(
            "aria-selected", "true"
        )
        await expect(page.get_by_role("tabpanel", name=title, exact=True)).to_be_visible()


@pytest.mark.parametrize(
    ("locale", "title"), [("ru-RU", "Подключить устройство"), ("kk-KZ", "Құрылғыны қосу")]
)
async def test_it_speaks_russian_and_kazakh_on_a_narrow_screen_in_the_dark(
    visitor: Visitor, locale: str, title: str
) -> None:
    visit = await visitor(locale=locale, color_scheme="dark", viewport={"width": 390, "height": 844})
    await visit.open("/ui/connect")
    await expect(visit.page.get_by_role("heading", level=1)).to_have_text(title)
    await visit.page.locator("form button[type=submit]").click()
    await expect(visit.page.get_by_role("tab")).to_have_count(5)
    sizes = await visit.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert sizes[0] <= sizes[1]


def test_every_text_is_there_in_every_language() -> None:
    folder = pathlib.Path(__file__).parents[2] / "dashboard"
    views = "".join(path.read_text() for path in folder.glob("views/connect*.js"))
    for language in ("en", "ru", "kk"):
        texts = json.loads((folder / "locales" / f"{language}.json").read_text())
        ours = {key for key in texts if key.startswith("connect.")}
        assert {key for key in ours if f'"{key}"' not in views and f'"{key[8:]}"' not in views} == set()


async def test_a_viewer_is_told_which_role_it_takes(visitor: Visitor) -> None:
    visit = await visitor("vera")
    await visit.open("/ui/connect")
    await expect(visit.page.get_by_text("It takes the role operator")).to_be_visible()
    await expect(visit.page.get_by_role("form")).to_have_count(0)
