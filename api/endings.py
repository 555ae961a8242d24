"""What ends by itself: old secrets whose grace is over, and batches. In the database, and with its accounts at the
broker."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from api.database import DATABASE_ERRORS, Database
from api.options import ApiOptions, DeviceAccounts
from api.problems import ProblemError
from broker.errors import BrokerError
from storage.claims import end_batches, next_end_of_batch
from storage.rotations import end_rotations, next_end_of_rotation

log = structlog.get_logger("api.endings")

_AT_ONCE = 20  # accounts that are taken away in a transaction, while which nobody may change one


class Endings:
    """Sleeps until the next end. ``wake`` tells it that there may be an earlier one."""

    def __init__(self, options: ApiOptions, database: Database, accounts: DeviceAccounts) -> None:
        self._options = options
        self._database = database
        self._accounts = accounts
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look again when the next end is."""
        self._woken.set()

    async def run(self) -> None:
        """End what is over, until cancelled."""
        await self._database.attempted.wait()
        is_told = False
        while True:
            self._woken.clear()
            try:
                wait = await self._end()
                is_told = False
            except (BrokerError, ProblemError, *DATABASE_ERRORS) as error:
                if not is_told:
                    log.warning("nothing is ended", error=str(error) or type(error).__name__)
                is_told = True
                await asyncio.sleep(self._options.retry_seconds)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()

    async def _end(self) -> float:
        """End what is over, and return for how long there is nothing more to do, seconds."""
        while True:
            async with self._database.connection() as connection:
                ends = (await next_end_of_rotation(connection), await next_end_of_batch(connection))
                left = min(end for end in (*ends, self._options.accounts_poll_seconds) if end is not None)
                if left > 0:
                    return left  # at most so long: the clock of the database may be set, and a word of it be lost
                async with connection.transaction():
                    ended = await end_rotations(connection, _AT_ONCE) + await end_batches(connection)
                    await self._accounts.delete_accounts(ended)
            log.info("accounts ended", accounts=ended)
