"""Devices that register themselves: their claims come by MQTT, and so does the answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import structlog

from api.auditing import Auditor, Refusal
from api.database import DATABASE_ERRORS, Database
from api.devices import credential_of
from api.endings import Endings
from api.options import ClaimOptions, DeviceAccounts
from api.problems import ProblemError
from api.snapshot import CatalogueWatch
from api.telemetry import ApiMetrics, ClaimOutcome
from broker.claims import ClaimDesk
from broker.errors import BrokerError
from sensors.claims import Claim, ClaimError, batch_of, decode_claim
from sensors.errors import CatalogueError
from sensors.rates import Buckets
from sensors.topics import Topics
from storage.audit import Event, record
from storage.claims import Batch, BatchState, ClaimRaceError, Verdict, claim_device, find_batch
from storage.errors import StorageError

log = structlog.get_logger("api.claims")

_BATCHES = 1024  # whose rates are kept
_WHY = {
    Verdict.TAKEN: "a device of this id is registered, with another secret; take another id, or let its operator "
    "delete it or give it a new secret",
    Verdict.EXHAUSTED: "as many devices have been claimed as the batch has places; ask for another batch",
    Verdict.EXPIRED: "the time of the batch is over; ask for another batch",
    Verdict.REVOKED: "the batch was revoked; ask for another batch",
}


class Claims:
    """Hears claims, one after the other: the database and the broker's accounts first, then the answer.

    ``listening`` is set while they are heard. A claim that nothing came of, because a server is away or too many
    wait, is not answered: the device sends it again.
    """

    def __init__(
        self,
        options: ClaimOptions,
        topics: Topics,
        database: Database,
        snapshot: CatalogueWatch,
        accounts: DeviceAccounts,
        endings: Endings,
        auditor: Auditor,
        metrics: ApiMetrics,
    ) -> None:
        self._desk = ClaimDesk(options.url, options.username, options.password, topics, options.ca)
        self._database = database
        self._snapshot = snapshot
        self._accounts = accounts
        self._endings = endings
        self._auditor = auditor
        self._metrics = metrics
        self._waiting: asyncio.Queue[tuple[str, str, bytes]] = asyncio.Queue(options.most_waiting)
        self._rates = Buckets(options.rate_per_batch, _BATCHES, time.monotonic)
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Hear and answer until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._desk.serve(self._take, self._note_connection), name="api.claims.desk")
            group.create_task(self._work(), name="api.claims.work")

    def _note_connection(self, trouble: str | None) -> None:
        if trouble is None:
            self.listening.set()
        else:
            self.listening.clear()
            log.warning("claims are not heard", error=trouble)

    def _take(self, user: str, payload: bytes) -> None:
        batch = batch_of(user)
        if batch is None:
            self._metrics.note_claim(ClaimOutcome.UNKNOWN)
        elif not self._rates.take(batch).is_allowed or self._waiting.full():
            # One batch that is flooded takes no turn of another.
            self._metrics.note_claim(ClaimOutcome.DROPPED)
        else:
            self._waiting.put_nowait((user, batch, payload))

    async def _work(self) -> None:
        await self._database.attempted.wait()
        while True:
            user, batch, payload = await self._waiting.get()
            try:
                outcome = await self._handle(user, batch, payload)
            except (BrokerError, ProblemError, StorageError, ClaimRaceError, *DATABASE_ERRORS) as error:
                log.warning("claim not answered", batch=batch, error=str(error) or type(error).__name__)
                outcome = ClaimOutcome.FAILED
            self._metrics.note_claim(outcome)

    async def _handle(self, user: str, batch: str, payload: bytes) -> ClaimOutcome:
        claim: Claim | None = None
        try:
            claim = decode_claim(payload)
            verdict, is_last = await self._register(claim, user, batch)
        except (ClaimError, CatalogueError) as error:
            self._refuse(user, claim, "invalid", str(error))
            return ClaimOutcome.INVALID
        if verdict in _WHY:
            self._auditor.refused(Refusal(f"batch {batch}", "claim device", user, claim.id))
            self._refuse(user, claim, verdict.value, _WHY[verdict])
        else:
            self._desk.answer(user, orjson.dumps({"id": claim.id, "claimed": True}))
        if is_last:
            # After the answer: it ends the connection that this goes to.
            self._endings.wake()
        return ClaimOutcome(verdict.value)

    def _refuse(self, user: str, claim: Claim | None, reason: str, detail: str) -> None:
        content: dict[str, Any] = {"claimed": False, "reason": reason, "detail": detail}
        self._desk.answer(user, orjson.dumps({"id": claim and claim.id, **content}))

    async def _register(self, claim: Claim, user: str, name: str) -> tuple[Verdict, bool]:
        """Register a device in the database and at the broker, or in neither. Return whether that was the last place
        of its batch, too."""
        async with self._database.connection() as connection, connection.transaction():
            batch = await find_batch(connection, name)
            if batch is None:
                return Verdict.REVOKED, False
            spec = claim.spec(batch.kind, batch.district)
            stored = credential_of(claim.secret)
            verdict = await claim_device(connection, name, spec, self._snapshot.current, claim.secret, stored)
            if verdict is Verdict.CLAIMED:
                await record(connection, [_event(batch, claim, user)])
                # Last, so that only the commit can fail after it; the same claim again mends that.
                await self._accounts.add_device(claim.id, claim.secret)
                batch = await find_batch(connection, name) or batch
        return verdict, batch.state is not BatchState.OPEN


def _event(batch: Batch, claim: Claim, user: str) -> Event:
    return Event(f"batch {batch.name}", "claim device", subject=claim.id, address=user)
