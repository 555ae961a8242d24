"""Keeps the routes as the database has them: woken by notifications, with a slow poll as the truth."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import asyncpg
import structlog

from ingest.routes import Routes
from storage.catalogue import CATALOGUE_CHANNEL, load_catalogue, newest_version
from storage.database import connect
from storage.devices import DEVICES_CHANGED, DEVICES_CHANNEL, find_routes, load_routes
from storage.errors import StorageError, classify
from storage.wire_sources import load_bindings

_POLL_SECONDS = 30.0
_DEADLINE_SECONDS = 30.0
log = structlog.get_logger("ingest.directory")


class Directory:
    """Refreshes routes on its own connection; ``refresh`` is for who can't wait for a notification."""

    def __init__(self, url: str, routes: Routes, on_change: Callable[[], None] = lambda: None) -> None:
        """``on_change`` is called when known devices, or whose sources are whose, have changed."""
        self._url = url
        self._routes = routes
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()
        self._version: int | None = None
        self._known_changed = False

    async def refresh(self, devices: Sequence[str] = (), *, anew: bool = False) -> None:
        """Take over new devices and a new catalogue, and look for some devices by name. Raises StorageError.

        ``anew``, also what is known already: something of it has changed.

        A device's number does not tell when it was committed: one may appear below those known already.
        """
        self._known_changed |= anew
        async with self._lock:
            try:
                async with asyncio.timeout(_DEADLINE_SECONDS):
                    await self._refresh(devices)
            except Exception as error:
                await self._drop()
                raise classify(error) or error from error

    async def _refresh(self, devices: Sequence[str]) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._url, application="alatau-ingest-directory")
            for channel in (CATALOGUE_CHANNEL, DEVICES_CHANNEL):
                await self._connection.add_listener(channel, self._notified)
            self._known_changed = True  # or may have, while nobody listened
        self._changed.clear()
        if await newest_version(self._connection) != self._version:
            catalogue = await load_catalogue(self._connection)
            if catalogue is not None:
                self._version = catalogue[0]
                self._routes.set_catalogue(catalogue[1])
        after, self._known_changed = (0 if self._known_changed else self._routes.newest), False
        self._routes.add(await load_routes(self._connection, after))
        if devices:
            self._routes.add(await find_routes(self._connection, devices))
        if self._routes.wire.formats and after == 0:
            self._routes.wire.bind(await load_bindings(self._connection))

    def _notified(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if payload == DEVICES_CHANGED:
            self._known_changed = True
            self._on_change()
        self._changed.set()

    async def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def run(self) -> None:
        """Refresh for ever; ends by cancellation."""
        away = False
        try:
            while True:
                try:
                    await self.refresh()
                    away = False
                except StorageError as error:
                    log.warning("devices can't be refreshed; going on with those known", error=str(error))
                    away = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0 if away else _POLL_SECONDS):
                        await self._changed.wait()
        finally:
            await self._drop()
