"""A real Chromium before the running city, one of each for all files that a worker has.

A test asks for ``visitor``: a function that opens a page as somebody. What goes wrong on any page that it has opened
fails the test when it ends: see ``Guard``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright, expect

from cli.local import LocalStack
from sensors.catalogue import Catalogue
from stack import browser as installed
from storage.database import connect
from tests.dashboard.city import Place, Town, running
from tests.dashboard.visits import Visit, sign_in, visit

# Open a page as one of ``city.PEOPLE``, or as nobody; ``more`` is Playwright's, such as ``locale`` or ``viewport``.
Visitor = Callable[..., Awaitable[Visit]]

# Others may have the machine at the same time.
expect.set_options(timeout=15_000)


@pytest.fixture(scope="session")
def chromium() -> installed.Browser:
    """The program, provisioned where the machine has none."""
    return installed.ensure_browser(os.environ)


@pytest.fixture(scope="session")
async def browser(chromium: installed.Browser) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=str(chromium.program), args=list(installed.ARGUMENTS)
        )
        yield started
        await started.close()


@pytest.fixture(scope="session")
async def standing(
    local_stack: LocalStack, directory_for_servers: pathlib.Path, catalogue: Catalogue
) -> AsyncIterator[Town]:
    """The running city."""
    place = Place.beside(local_stack, directory_for_servers)
    async with running(place, local_stack, catalogue) as town:
        yield town


@pytest.fixture
async def town(standing: Town) -> AsyncIterator[Town]:
    """The running city, with a connection of the test's own: other tests stop the database that all share."""
    owner = await connect(standing.city.database.owner_url, application="test")
    yield dataclasses.replace(standing, city=dataclasses.replace(standing.city, owner=owner))
    await owner.close()


@pytest.fixture
async def visitor(browser: Browser, town: Town) -> AsyncIterator[Visitor]:
    """Opens pages as somebody, and has an eye on them until the test ends."""
    async with contextlib.AsyncExitStack() as exits:
        visits = []

        async def enter(name: str | None = "anna", **more: Any) -> Visit:
            context = await browser.new_context(**{"locale": "en-GB", "timezone_id": "Asia/Almaty", **more})
            exits.push_async_callback(context.close)
            if name is not None:
                await sign_in(context, town.url, name)
            visits.append(await visit(context, town.url))
            return visits[-1]

        yield enter
        troubles = "\n".join(filter(None, (one.guard.verdict() for one in visits)))
        if troubles:
            pytest.fail(troubles)
