"""Ends the streams of keys and sessions that have ended, or may no longer what they did: asked for all at once."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from api.database import DATABASE_ERRORS, Database
from api.live_hub import Client, Hub
from api.options import ApiOptions
from api.problems import ProblemError
from api.services import Clock
from storage.standing import Standing, standing_of_keys, standing_of_sessions

log = structlog.get_logger("api.live")


class LiveGuard:
    """Looks again now and then, and when it is woken."""

    def __init__(self, options: ApiOptions, hub: Hub, database: Database, clock: Clock) -> None:
        self._options = options
        self._hub = hub
        self._database = database
        self._clock = clock
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look again: a key was revoked, a session closed, a role changed."""
        self._woken.set()

    async def run(self) -> None:
        """Guard until cancelled."""
        while True:
            await self._hub.is_wanted.wait()
            self._woken.clear()
            try:
                await self._look()
            except (ProblemError, *DATABASE_ERRORS) as error:
                # Without a database nothing is told either.
                log.warning("keys of streams not looked at", error=str(error) or type(error).__name__)
                await asyncio.sleep(self._options.retry_seconds)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.live.recheck_seconds):
                    await self._woken.wait()

    async def _look(self) -> None:
        clients = self._hub.clients
        keys = {client.secret for client in clients if not client.caller.is_person}
        tokens = {client.secret for client in clients if client.caller.is_person}
        async with self._database.connection() as connection:
            standing = await standing_of_keys(connection, keys) if keys else {}
            if tokens:
                lifetimes = self._options.sign_in.lifetimes
                standing |= await standing_of_sessions(connection, tokens, self._clock(), lifetimes)
        for client in clients:
            if not _may_go_on(client, standing.get(client.secret)):
                client.end()


def _may_go_on(client: Client, standing: Standing | None) -> bool:
    if standing is None:
        return False
    role, scope = standing
    return role.includes(client.caller.role) and scope == client.caller.scope
