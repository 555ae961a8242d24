"""The first screen of the dashboard in a real Chromium, and when it shows what."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import time
import urllib.parse
from collections.abc import AsyncIterator, Sequence
from typing import Any

from playwright.async_api import Browser, BrowserContext, CDPSession, Page, Request, async_playwright

from stack.browser import ARGUMENTS, ensure_browser

_SIZE = {"width": 1440, "height": 900}
_GIVE_UP_SECONDS = 60.0
_WORKER = "-worker.mjs"
# Looks at each frame, with as little as can be: the map is asked for its points only once it says that it is idle.
_WATCH = """
(() => {
  const seen = (window.benchSeen = { sentence: null, points: null, drawn: 0 });
  const look = () => {
    const now = performance.now();
    if (seen.sentence === null && document.querySelector("h1.glance-sentence a")) seen.sentence = now;
    const map = document.querySelector(".map-stage")?.map;
    if (map && !document.querySelector(".glance-map[aria-busy]") && map.getLayer("devices") && map.loaded()) {
      const points = map.queryRenderedFeatures({ layers: ["devices"] });
      seen.drawn = new Set(points.map((one) => one.id)).size;
      if (seen.drawn >= LEAST) seen.points = now;
    }
    if (seen.sentence === null || seen.points === null) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""
# A device's point lights up when the page takes its reading; what lights up is drawn by the next frame.
_HEAR = """() => {
  const map = document.querySelector(".map-stage").map;
  const set = map.setFeatureState;
  window.benchHeard = new Map();
  let fresh = [];
  map.setFeatureState = function (target, state) {
    if (state.pulse && !window.benchHeard.has(target.id)) {
      if (!fresh.length) {
        requestAnimationFrame(() => {
          const now = (performance.timeOrigin + performance.now()) / 1000;
          for (const id of fresh) window.benchHeard.set(id, now);
          fresh = [];
        });
      }
      fresh.push(target.id);
    }
    return set.call(this, target, state);
  };
}"""


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """Seconds from the start of the navigation to the sentence and to all points; bytes over the wire of
    our files and of answers of the API, and of the headers of both."""

    sentence: float
    points: float
    files: int
    data: int
    headers: int

    @property
    def whole(self) -> float:
        """Seconds until both are shown."""
        return max(self.sentence, self.points)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a browser, provisioned where the machine has none."""
    program = (await asyncio.to_thread(ensure_browser, os.environ)).program
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(program), args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


class Visitor:
    """Somebody who is signed in at the API of a port."""

    def __init__(self, browser: Browser, port: int, cookies: Any) -> None:
        self._browser = browser
        self._url = f"http://127.0.0.1:{port}"
        self._cookies = cookies

    @classmethod
    async def sign_in(cls, browser: Browser, port: int, name: str, password: str) -> Visitor:
        """Open a session. Raises RuntimeError where it is refused."""
        context = await browser.new_context()
        try:
            answer = await context.request.post(
                f"http://127.0.0.1:{port}/api/v1/session", data={"name": name, "password": password}
            )
            if not answer.ok:
                raise RuntimeError(f"signing in is refused: {await answer.text()}")
            return cls(browser, port, await context.cookies())
        finally:
            await context.close()

    @contextlib.asynccontextmanager
    async def fresh(self, points: int) -> AsyncIterator[BrowserContext]:
        """Lend a browser that has nothing of ours but the session, and times pages with so many points."""
        context = await self._browser.new_context(locale="en-GB", viewport=_SIZE)  # type: ignore[arg-type]
        try:
            await context.add_cookies(self._cookies)
            await context.add_init_script(_WATCH.replace("LEAST", str(points)))
            yield context
        finally:
            await context.close()

    async def open(self, context: BrowserContext, *, is_first: bool = True) -> tuple[Page, Load]:
        """Open the first screen, and return it when all of it is shown. Raises RuntimeError when it does not come to
        that."""
        page = await context.new_page()
        session = await context.new_cdp_session(page)
        # As the target counts; the API also speaks zstd and br.
        await session.send("Network.enable")
        await session.send("Network.setAcceptedEncodings", {"encodings": ["gzip"]})
        requests: list[Request] = []

        def note(request: Request) -> None:
            requests.append(request)

        context.on("requestfinished", note)
        await page.goto(f"{self._url}/ui")
        seen = await self._shown(page)
        context.remove_listener("requestfinished", note)
        weights = await _weigh(requests, is_first=is_first)
        return page, Load(seen["sentence"] / 1000, seen["points"] / 1000, *weights)

    async def _shown(self, page: Page) -> dict[str, float]:
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while None in (seen := await page.evaluate("benchSeen")).values():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the first screen is not whole within {_GIVE_UP_SECONDS:.0f} s: {seen}")
            await asyncio.sleep(0.1)
        shown: dict[str, float] = seen
        return shown

    async def order(self, context: BrowserContext) -> list[str]:
        """Return the ids of all devices in the order in which the page numbers them."""
        devices: list[str] = []
        cursor = ""
        while cursor is not None:
            query = urllib.parse.urlencode({"cursor": cursor} if cursor else {})
            answer = await context.request.get(f"{self._url}/api/v1/state/devices?{query}")
            found = await answer.json()
            devices += found["device"]
            cursor = found["next"]
        return devices


async def _weigh(requests: Sequence[Request], *, is_first: bool) -> tuple[int, int, int]:
    """Return the bytes of files, data and headers; nothing came of what the browser has kept."""
    weights, headers = {True: 0, False: 0}, 0
    for request in requests:
        sizes, response = await request.sizes(), await request.response()
        body, header = sizes["responseBodySize"], sizes["responseHeadersSize"]
        # Of what a worker loads the browser tells the headers alone, kept or not.
        if request.url.endswith(_WORKER) and response is not None:
            length = int(await response.header_value("content-length") or 0)
            body, header = (length, header) if is_first else (0, 0)
        elif body + header <= 0:
            body, header = 0, 0
        weights["/api/" not in urllib.parse.urlsplit(request.url).path] += body
        headers += header
    return weights[True], weights[False], headers


class Watched:
    """A page that is shown, and what its main thread does."""

    def __init__(self, page: Page, session: CDPSession) -> None:
        self._page = page
        self._session = session

    @classmethod
    async def begin(cls, context: BrowserContext, page: Page) -> Watched:
        """Watch a page from when it hears of what happens."""
        await page.wait_for_selector('.pulse[data-state="live"]')
        await page.evaluate(_HEAR)
        session = await context.new_cdp_session(page)
        await session.send("Performance.enable")
        return cls(page, session)

    async def busy(self) -> float:
        """Return the seconds that tasks of the main thread have taken."""
        metrics = (await self._session.send("Performance.getMetrics"))["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

    async def heard(self) -> dict[int, float]:
        """Return of each device, by number, when its point lit up, as Unix time."""
        pairs = await self._page.evaluate("[...benchHeard]")
        return {int(number): float(when) for number, when in pairs}

    async def forget(self) -> None:
        """Begin again to note what lights up."""
        await self._page.evaluate("benchHeard.clear()")
