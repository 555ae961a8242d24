"""A visitor of the dashboard, and the guard that no page of it may wake."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request

from tests.api.people import PASSWORD

_SECONDS = 10.0
# Told of in the page itself, because a policy that only reports leaves no word on the console.
_TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI}`);
});
"""


@dataclasses.dataclass
class Guard:
    """Notes what must not happen on a page: errors on its console, requests to others, violations of its policy."""

    origin: str
    troubles: list[str] = dataclasses.field(default_factory=list)
    _expected: list[re.Pattern[str]] = dataclasses.field(default_factory=list)

    def expect(self, pattern: str) -> None:
        """Let a test cause an error: browsers write each refused request on the console."""
        self._expected.append(re.compile(pattern))

    def verdict(self) -> str:
        """Return what has happened that nobody expected, line by line."""
        return "\n".join(
            one for one in self.troubles if not any(pattern.search(one) for pattern in self._expected)
        )

    def watch(self, page: Page) -> None:
        """Look at all that a page does from now on."""
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.troubles.append(f"uncaught: {error}"))
        page.on("crash", lambda _: self.troubles.append("the page crashed"))

    def on_request(self, request: Request) -> None:
        """Note a request to another place than ours."""
        url = urllib.parse.urlsplit(request.url)
        if url.scheme not in ("data", "blob", "about") and f"{url.scheme}://{url.netloc}" != self.origin:
            self.troubles.append(f"a request to another origin: {request.url}")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.troubles.append(
                f"console {message.type}: {message.text} ({message.location.get('url', '')})"
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Visit:
    """Somebody who is signed in, and the page that they see."""

    page: Page
    guard: Guard
    url: str

    async def open(self, path: str) -> None:
        """Go to a path, and wait until its document is there."""
        await self.page.goto(f"{self.url}{path}")

    async def ask(self, path: str) -> Any:
        """Return the API's answer as the visitor would get it."""
        answer = await self.page.context.request.get(f"{self.url}/api/v1/{path}")
        assert answer.ok, await answer.text()
        return await answer.json()

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Wait for something that the page's own waiting does not know of."""
        async with asyncio.timeout(_SECONDS):
            while not is_true():  # noqa: ASYNC110 - the page tells nobody
                await asyncio.sleep(0.01)


async def sign_in(context: BrowserContext, url: str, name: str) -> None:
    """Give a browser the session of somebody."""
    answer = await context.request.post(f"{url}/api/v1/session", data={"name": name, "password": PASSWORD})
    assert answer.status == 201, await answer.text()


async def visit(context: BrowserContext, url: str) -> Visit:
    """Open a page under guard."""
    guard = Guard(url)
    context.on("request", guard.on_request)
    await context.add_init_script(_TELL_VIOLATIONS)
    page = await context.new_page()
    guard.watch(page)
    return Visit(page, guard, url)
