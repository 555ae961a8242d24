"""What the API puts on record by itself: refusals, counted together, and which keys were used."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter

import structlog

from api.database import DATABASE_ERRORS, Database
from api.problems import ProblemError
from storage.api_keys import note_use
from storage.audit import Event, Outcome, record
from storage.errors import PermanentError

log = structlog.get_logger("api.audit")

_MOST = 1000  # kinds of refusals between two writes; the others are counted as one
_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """Who was refused what, from where."""

    actor: str
    action: str
    address: str
    subject: str | None = None


class Auditor:
    """Collects for some seconds, so that a flood of bad requests is a few rows. ``run`` writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._refused: Counter[Refusal] = Counter()
        self._used: set[str] = set()

    def refused(self, refusal: Refusal) -> None:
        """Count a refusal."""
        if refusal not in self._refused and len(self._refused) >= _MOST:
            refusal = Refusal("many", refusal.action, "many")
        self._refused[refusal] += 1

    def used(self, prefix: str) -> None:
        """Note that a key was used."""
        self._used.add(prefix)

    async def run(self) -> None:
        """Write what was collected, now and then, until cancelled; then the rest."""
        try:
            while True:
                await asyncio.sleep(_SECONDS)
                await self.write()
        finally:
            await self.write()

    async def write(self) -> None:
        """Write what was collected; while the database is away it stays, within its bound."""
        if not self._refused and not self._used:
            return
        refused, used = self._refused, self._used
        self._refused, self._used = Counter(), set()
        try:
            async with self._database.connection() as connection, connection.transaction():
                await note_use(connection, used)
                await record(connection, [_event(one, times) for one, times in refused.items()])
        except PermanentError:
            # Again and again it would be refused, and all that comes after it with it.
            log.exception("refusals are not on record", refusals=[_event(*one) for one in refused.items()])
        except (*DATABASE_ERRORS, ProblemError) as error:
            log.warning("the audit waits for the database", error=str(error) or type(error).__name__)
            for one, times in refused.items():
                if one in self._refused or len(self._refused) < _MOST:
                    self._refused[one] += times
            self._used |= used


def _event(refusal: Refusal, times: int) -> Event:
    subject = refusal.subject
    if subject is not None:
        # Somebody else's text: of characters the database's text takes every one but NUL, and halves of pairs are none.
        subject = subject.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return Event(
        refusal.actor, refusal.action, Outcome.REFUSED, subject, address=refusal.address, times=times
    )
