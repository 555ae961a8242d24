"""What the API does about the broker beside requests: it holds the accounts against the device table, at the start and
after each reconnect, and puts on record whom the broker sends away."""

from __future__ import annotations

import asyncio
import time

import structlog

from api.auditing import Auditor, Refusal
from api.database import DATABASE_ERRORS, Database
from api.options import ApiOptions, DeviceAccounts
from api.problems import ProblemError
from api.telemetry import ApiMetrics
from broker.drift import Deviation, Drift, compare
from broker.errors import BrokerError
from broker.refusals import Dismissal
from broker.standstill import is_restart_quicker
from sensors.rates import Buckets, Rate
from storage.accounts import hold_all_accounts
from storage.broker_restarts import ask_for_restart

log = structlog.get_logger("api.reconciliation")

_NAMED = 5
_NAMES = Rate(1, 100)  # of clients on record; they call themselves as they like


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
            table = await hold_all_accounts(connection)
            accounts = list(await self._accounts.list_devices())
            drift = compare(table, accounts)
            repaired = await self._accounts.repair(drift)
            is_asked = is_restart_quicker(
                len(drift[Deviation.MISSING]), len(accounts)
            ) and await ask_for_restart(connection)
        self._metrics.note_drift(drift, repaired)
        if drift != self._told:
            self._tell(drift, repaired, is_asked=is_asked)
        self._told = drift

    def _tell(self, drift: Drift, repaired: int, *, is_asked: bool) -> None:
        for deviation, devices in drift.items():
            if devices:
                log.warning(
                    "accounts at the broker deviate",
                    deviation=deviation.value,
                    count=len(devices),
                    devices=devices[:_NAMED],
                )
        if is_asked:
            log.warning("the broker is started again, which gives it the missing accounts")
        elif drift[Deviation.MISSING] or sum(map(len, drift.values())) > repaired:
            log.warning("accounts at the broker stay wrong until it is started again with new files")


class Dismissals:
    """Counts whom the broker sends away, and puts them on record; in a flood without their names."""

    def __init__(self, metrics: ApiMetrics, auditor: Auditor) -> None:
        self._metrics = metrics
        self._auditor = auditor
        self._names = Buckets(_NAMES, 1, time.monotonic)

    def miss(self, reason: str) -> None:
        """Note that the broker does not let us hear of them."""
        self._metrics.miss_dismissals()
        log.error(
            "whom the broker sends away is not told: it refuses the subscription to its log; "
            "start it again with new files, which give the administrator's role that right",
            reason=reason,
        )

    def note(self, dismissal: Dismissal) -> None:
        """Note one."""
        self._metrics.dismiss(dismissal.why)
        name = (dismissal.client_id or "")[:80]
        if name and not self._names.take("names").is_allowed:
            name = "many"
        refusal = Refusal(
            f"client {name}" if name else "a client without a name",
            "connect to broker",
            dismissal.address or "unknown",
            subject=dismissal.why.value,
        )
        self._auditor.refused(refusal)
