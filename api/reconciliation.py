"""The broker's accounts are held against the device table, at the start and after each reconnect to the broker."""

from __future__ import annotations

import asyncio

import structlog

from api.database import DATABASE_ERRORS, Database
from api.options import ApiOptions, DeviceAccounts
from api.problems import ProblemError
from api.telemetry import ApiMetrics
from broker.drift import Deviation, Drift, compare
from broker.errors import BrokerError
from storage.devices import hold_accounts

log = structlog.get_logger("api.reconciliation")

_NAMED = 5


class Reconciliation:
    """Compares, tells of each deviation, and mends what can be while the broker runs. The table is the truth."""

    def __init__(
        self, options: ApiOptions, database: Database, accounts: DeviceAccounts, metrics: ApiMetrics
    ) -> None:
        self._options = options
        self._database = database
        self._accounts = accounts
        self._metrics = metrics
        self._told: Drift = {}

    async def run(self) -> None:
        """Compare after each connect, and now and then, until cancelled."""
        await self._database.attempted.wait()
        connections = 0
        while True:
            try:
                async with asyncio.timeout(self._options.accounts_poll_seconds if connections else None):
                    connections = await self._accounts.connected(connections)
            except TimeoutError:
                pass
            await self._until_compared()

    async def _until_compared(self) -> None:
        is_told = False
        while True:
            try:
                return await self._compare()
            except (BrokerError, ProblemError, *DATABASE_ERRORS) as error:
                if not is_told:
                    log.warning("accounts not compared", error=str(error) or type(error).__name__)
                is_told = True
            await asyncio.sleep(self._options.retry_seconds)

    async def _compare(self) -> None:
        async with self._database.connection() as connection, connection.transaction():
            table = await hold_accounts(connection)
            drift = compare(table, await self._accounts.list_devices())
            repaired = await self._accounts.repair(drift)
        self._metrics.note_drift(drift, repaired)
        if drift != self._told:
            self._tell(drift, repaired)
        self._told = drift

    def _tell(self, drift: Drift, repaired: int) -> None:
        for deviation, devices in drift.items():
            if devices:
                log.warning(
                    "accounts at the broker deviate",
                    deviation=deviation.value,
                    count=len(devices),
                    devices=devices[:_NAMED],
                )
        if drift[Deviation.MISSING] or sum(map(len, drift.values())) > repaired:
            log.warning("accounts at the broker stay wrong until it is started again with new files")
