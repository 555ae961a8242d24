"""Certificates of devices that are valid no more: the broker is told, and their sessions end, within a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

import asyncpg

from broker.admin import BrokerAdmin
from broker.errors import BrokerError
from sensors.errors import AlatauError
from stack.errors import StackError
from storage.certificates import load_invalid
from storage.devices import hold_accounts
from storage.kinds import Connection

_LOOK_SECONDS = 0.4
# The broker reads its files between two rounds of its work; a session that ends before would be let in again.
_READ_SECONDS = 0.25
_RETRY_SECONDS = 2.0
# A list is good for thirty days.
_RENEW_SECONDS = 86_400.0


class Revocations:
    """Compares what the table says with ``known``, what the broker was started with: serial numbers (hex) of all
    certificates that are valid no more, each with its device. ``take_up`` gives the broker others; ``told`` hears of
    trouble."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        admin: BrokerAdmin,
        known: Mapping[str, str],
        take_up: Callable[[Collection[str]], None],
        told: Callable[[str], None],
    ) -> None:
        self._connect = connect
        self._admin = admin
        self._take_up = take_up
        self._told = told
        self._known = known
        self._renewed = time.monotonic()
        self._leaving: set[str] = set()  # devices whose sessions have to end
        self._trouble = ""

    async def run(self) -> None:
        """Look for ever; what goes wrong is told once, and tried again."""
        async with self._admin:
            await self.watch()

    async def watch(self) -> None:
        """Look for ever with a connection to the broker that is somebody else's."""
        while True:
            try:
                await self._watch()
            except (AlatauError, BrokerError, StackError, OSError, asyncpg.PostgresError) as error:
                if str(error) != self._trouble:
                    self._told(f"certificates of devices are not compared: {error}")
                self._trouble = str(error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _watch(self) -> None:
        connection = await self._connect()
        try:
            while True:
                await self._look(connection)
                self._trouble = ""
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            await connection.close()

    async def _look(self, connection: Connection) -> None:
        invalid = await load_invalid(connection)
        if invalid != self._known or time.monotonic() - self._renewed > _RENEW_SECONDS:
            self._take_up(invalid.keys())
            self._leaving |= {device for serial, device in invalid.items() if serial not in self._known}
            self._known, self._renewed = invalid, time.monotonic()
        if self._leaving:
            await asyncio.sleep(_READ_SECONDS)
            async with connection.transaction():
                accounts = await hold_accounts(connection)
                await self._admin.end_sessions(
                    {device: accounts.get(device) for device in sorted(self._leaving)}
                )
            self._leaving.clear()
