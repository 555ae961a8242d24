"""Many new accounts: the broker is started again with all of them, because it learns them slowly while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import asyncpg

from broker.accounts import Service
from broker.admin import BrokerAdmin
from broker.drift import Deviation, compare
from broker.errors import BrokerError
from broker.standstill import is_restart_quicker
from sensors.errors import AlatauError
from stack.errors import StackError
from storage.accounts import hold_all_accounts
from storage.broker_restarts import ask_for_restart, hear_requests

_RETRY_SECONDS = 2.0
_TOLD_WITHIN_SECONDS = 60.0
_LOOK_SECONDS = 0.2


class AccountRestarts:
    """Answers requests on behalf of who keeps the broker: ``restart`` stops it in order and starts it with new files.

    Whether it is worth that is looked at here again, and ``pause_seconds`` pass before the next one: who may only speak
    to the database can't keep the broker down. ``told`` hears what is done, and of trouble.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        admin: BrokerAdmin,
        restart: Callable[[], Awaitable[None]],
        told: Callable[[str], None],
        *,
        is_worth: Callable[[int, int], bool] = is_restart_quicker,
        pause_seconds: float = 10.0,
    ) -> None:
        self._connect = connect
        self._admin = admin
        self._restart = restart
        self._told = told
        self._is_worth = is_worth
        self._pause_seconds = pause_seconds
        self._trouble = ""

    async def run(self) -> None:
        """Answer for ever; what goes wrong is told once, and tried again."""
        async with self._admin:
            while True:
                try:
                    await self._listen()
                except (AlatauError, BrokerError, StackError, OSError, asyncpg.PostgresError) as error:
                    if str(error) != self._trouble:
                        self._told(f"requests to start the broker again are not heard: {error}")
                    self._trouble = str(error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _listen(self) -> None:
        connection = await self._connect()
        try:
            asked = asyncio.Event()
            connection.add_termination_listener(lambda *_: asked.set())
            await hear_requests(connection, asked.set)
            self._trouble = ""
            while True:
                await asked.wait()
                asked.clear()
                if connection.is_closed():
                    return
                if await self._answer(connection):
                    await asyncio.sleep(self._pause_seconds)
        finally:
            await connection.close()

    async def _answer(self, connection: asyncpg.Connection) -> bool:
        """Start the broker again if enough accounts are missing, and return whether."""
        # Nobody registers a device until the broker runs again: it would be in neither of the broker's files.
        async with connection.transaction():
            table = await hold_all_accounts(connection)
            accounts = await self._admin.list_devices()
            missing = len(compare(table, accounts)[Deviation.MISSING])
            if not self._is_worth(missing, len(accounts)):
                return False
            self._told(f"{missing:,} accounts are new: the broker is started again with them")
            await self._restart()
        return True


async def tell_by_restart(connection: asyncpg.Connection, admin: BrokerAdmin) -> bool:
    """Have the broker started again with the accounts of the table, and return whether it has them: not where nobody
    keeps it, or after a minute."""
    async with connection.transaction():
        table = await hold_all_accounts(connection)
    if not await ask_for_restart(connection):
        return False
    wanted = len(table) + len(Service)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TOLD_WITHIN_SECONDS):
            while not await _has(admin, wanted):  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(_LOOK_SECONDS)
            return True
    return False


async def _has(admin: BrokerAdmin, wanted: int) -> bool:
    try:
        return await admin.count_accounts() >= wanted
    except BrokerError:  # it is being started again
        return False
