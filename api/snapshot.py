"""What the database announces to the API: a new catalogue, of which it keeps a snapshot, and what others wait for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import structlog

from api.database import DATABASE_ERRORS
from api.options import ApiOptions
from api.problems import unavailable
from sensors.catalogue import Catalogue
from storage.catalogue import CATALOGUE_CHANNEL, load_catalogue
from storage.database import connect

log = structlog.get_logger("api.snapshot")


class CatalogueWatch:
    """Keeps the newest catalogue. ``run`` listens on a connection of its own and also asks now and then,
    because a notification is lost when the connection is. ``others`` are called when their channel is notified, and
    after each connect."""

    def __init__(self, options: ApiOptions, others: Mapping[str, Callable[[], None]]) -> None:
        self._options = options
        self._others = others
        self._current: tuple[int, Catalogue] | None = None
        self.attempted = asyncio.Event()

    @property
    def version(self) -> int | None:
        """The version of the snapshot, None before the first catalogue was applied."""
        return self._current[0] if self._current else None

    @property
    def current(self) -> Catalogue:
        """The snapshot. Raises a problem where there is none yet."""
        if self._current is None:
            raise unavailable("no catalogue is loaded yet; see /readyz, and if it says so: alatau migrate")
        return self._current[1]

    async def run(self) -> None:
        """Listen and reload until cancelled, connecting again whenever the connection is lost."""
        while True:
            try:
                await self._listen()
            except DATABASE_ERRORS as error:
                log.warning("catalogue not watched", error=str(error) or type(error).__name__)
            self.attempted.set()
            await asyncio.sleep(self._options.retry_seconds)

    async def _listen(self) -> None:
        connection = await connect(self._options.database_url, application="alatau-api-catalogue")
        try:
            changed = asyncio.Event()
            connection.add_termination_listener(lambda *_: changed.set())
            await connection.add_listener(CATALOGUE_CHANNEL, lambda *_: changed.set())
            for channel, tell in self._others.items():
                await connection.add_listener(channel, _ignoring(tell))
                # What was said while nobody listened is not heard any more.
                tell()
            while not connection.is_closed():
                changed.clear()
                self._current = await load_catalogue(connection)
                self.attempted.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._options.catalogue_poll_seconds):
                        await changed.wait()
        finally:
            # A lost connection has nobody to say goodbye to.
            with contextlib.suppress(*DATABASE_ERRORS):
                await connection.close(timeout=2)


def _ignoring(tell: Callable[[], None]) -> Callable[..., None]:
    """Return a listener to which all notifications say the same."""
    return lambda *_: tell()
