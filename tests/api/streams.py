"""Hearing the stream as a browser does, and storing what it tells of."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
from fastapi import FastAPI

from api.options import LiveOptions
from storage.latest_changes import announce_latest
from tests.api.answers import NOW
from tests.api.people import Clock
from tests.cities import City

# Quick, because a test waits for a tick; what is told does not depend on it.
LIVE = LiveOptions(every_seconds=0.02, poll_seconds=0.1, recheck_seconds=60, look_back_seconds=120)


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """An event as a browser gives it."""

    name: str
    data: Any


class Listener:
    """Reads events as the specification has it."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.last_id = ""
        self.comments = 0
        self._readings: list[dict[str, Any]] = []  # told, and not looked at

    async def event(self) -> Event | None:
        """Return the next event, None at the end."""
        name, data = "message", ""
        async for line in self._lines:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data += value
            else:
                self._note(line)
            if not line and data:
                return Event(name, json.loads(data))
        return None

    def _note(self, line: str) -> None:
        if line.startswith("id: "):
            self.last_id = line.removeprefix("id: ")
        self.comments += line.startswith(":")

    async def until(self, is_it: Callable[[Listener], bool]) -> None:
        """Read until something is noted that is no event."""
        while not is_it(self):
            self._note(await anext(self._lines))

    async def next(self, name: str) -> Any:
        """Return the data of the next event of a name."""
        while (event := await self.event()) is not None:
            if event.name == name:
                return event.data
        raise AssertionError(f"the stream has ended without {name}")

    async def reading(self, *devices: str) -> dict[str, Any]:
        """Return the next reading, of one of these devices if they are given."""
        while True:
            if not self._readings:
                self._readings = (await self.next("readings"))["readings"]
            reading = self._readings.pop(0)
            if not devices or reading["device"] in devices:
                return reading

    async def status(self, device: str) -> dict[str, Any]:
        """Return the next status of a device."""
        while True:
            for status in (await self.next("status"))["devices"]:
                if status["device"] == device:
                    return dict(status)

    async def alert(self) -> dict[str, Any]:
        """Return the next alert, which is alone in its event."""
        (alert,) = (await self.next("alerts"))["alerts"]
        return dict(alert)

    async def end(self) -> None:
        """Read to the end."""
        while await self.event() is not None:
            pass


@dataclasses.dataclass(frozen=True, slots=True)
class Station:
    """An application on a socket, its clock, and a key to it."""

    app: FastAPI
    url: str
    key: str
    clock: Clock

    @contextlib.asynccontextmanager
    async def answer(
        self, *, key: str | None = None, after: str = "", **query: str
    ) -> AsyncIterator[httpx2.Response]:
        """Ask for a stream."""
        headers = {"X-API-Key": key or self.key, **({"Last-Event-ID": after} if after else {})}
        async with (
            asyncio.timeout(20),
            httpx2.AsyncClient(base_url=self.url, headers=headers) as client,
            client.stream("GET", "/api/v1/stream", params=query) as response,
        ):
            yield response

    @contextlib.asynccontextmanager
    async def listen(
        self, *, key: str | None = None, after: str = "", **query: str
    ) -> AsyncIterator[Listener]:
        """Open a stream; without ``after``, wait until it goes on from now, and knows what was stored before."""
        if not after:
            await self._settle()
        async with self.answer(key=key, after=after, **query) as response:
            listener = await heard(response)
            if not after:
                await listener.until(lambda one: bool(one.last_id))
            yield listener

    async def _settle(self) -> None:
        hub = self.app.state.hub
        for _ in range(2):  # one may be under way
            newest = hub.newest
            async with asyncio.timeout(5):
                while newest is not None and hub.newest == newest:  # noqa: ASYNC110 - the hub tells nobody
                    await asyncio.sleep(0.01)


async def heard(response: httpx2.Response) -> Listener:
    """Return what reads an answer that has to be a stream."""
    assert response.status_code == 200, await response.aread()
    assert response.headers["content-type"].startswith("text/event-stream")
    # A compressor would keep events back, or be asked to write each for each client.
    assert "content-encoding" not in response.headers
    return Listener(response.aiter_lines())


Stations = Callable[..., AbstractAsyncContextManager[Station]]


class Writer:
    """Stores readings as ingest does, each newer than those before."""

    def __init__(self, city: City) -> None:
        self.city = city
        self._time = NOW - dt.timedelta(seconds=50)

    async def __call__(self, device: str, kind: str = "air_quality", **values: float) -> dt.datetime:
        """Store a reading, and say so."""
        time = await self.quietly(device, kind, **values)
        await announce_latest(self.city.ingest)
        return time

    async def quietly(self, device: str, kind: str = "air_quality", **values: float) -> dt.datetime:
        """Store a reading of which nobody is told."""
        self._time += dt.timedelta(milliseconds=10)
        await self.at(self._time, device, kind, **values)
        return self._time

    async def at(self, time: dt.datetime, device: str, kind: str = "air_quality", **values: float) -> None:
        """Store a reading of a time."""
        await self.city.write(kind, [(device, time, values)])
