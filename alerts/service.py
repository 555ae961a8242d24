"""The process: pass after pass, of one process only, each stored in one transaction."""

from __future__ import annotations

import asyncio
import importlib.resources
import time
import zoneinfo
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import asyncpg
import structlog

from alerts.evaluate import Evaluator, muffle
from alerts.finding import Find, Finding, NotYetError
from alerts.metrics import AlertMetrics
from alerts.options import AlertOptions
from alerts.overlap import Covered
from alerts.scene import Scene
from alerts.states import by_fingerprint, plan
from sensors.catalogue import Catalogue
from sensors.rules import Rule, read_rules
from sensors.times import from_microseconds
from storage.alert_inputs import read_fleet
from storage.alert_rules import list_rules, put_builtin_rules, windows_under_way
from storage.alert_states import forget_alerts, load_active, store_states
from storage.catalogue import load_catalogue
from storage.database import connect, read_edition
from storage.deadline import deadline
from storage.errors import StorageError, classify, place_of
from storage.turns import take_turn

_FORGET_SECONDS = 3600.0
_PASSES = "passes"
log = structlog.get_logger("alerts")


def _now() -> int:
    return time.time_ns() // 1000


def builtin_rules() -> tuple[Rule, ...]:
    """Return the rules that come with us."""
    name = "limits.toml"
    return read_rules(importlib.resources.files("alerts").joinpath(f"data/{name}").read_bytes(), name)


class Readiness(NamedTuple):
    """Whether pass follows pass, and a sentence that says what keeps them."""

    is_ready: bool
    sentence: str


class Beside(Protocol):
    """Work that goes on beside the passes until it is cancelled; after an error of the database it is run anew."""

    @property
    def name(self) -> str:
        """Names it in logs and metrics."""
        ...

    async def run(self) -> None:
        """Work for ever; ends by cancellation or by an error."""
        ...


class Alerts:
    """Evaluates rules, and what else is found, by kind of rule in ``finds``; keeps the alerts of it.

    What a pass has made is there after its commit, and not before: one that is killed is as if it had not begun.
    """

    def __init__(
        self,
        options: AlertOptions,
        metrics: AlertMetrics | None = None,
        finds: Mapping[str, Find] | None = None,
        beside: Sequence[Beside] = (),
        clock: Callable[[], int] = _now,
    ) -> None:
        self.options = options
        self.metrics = metrics or AlertMetrics()
        self._finds = finds or {}
        self._clock = clock
        self._evaluator = Evaluator()
        self._beside = beside
        self._failing: dict[str, str] = {}  # by part, what it failed with
        self._readiness = Readiness(is_ready=False, sentence="the database has not been asked yet")

    def readiness(self) -> Readiness:
        """Return whether the work goes on."""
        failing = [f"{name}: {error}" for name, error in self._failing.items()]
        return Readiness(is_ready=False, sentence="; ".join(failing)) if failing else self._readiness

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``; a pass that is under way then is rolled back."""
        async with asyncio.TaskGroup() as group:
            parts = {_PASSES: self._work, **{part.name: part.run for part in self._beside}}
            tasks = [
                group.create_task(self._keep(name, run), name=f"alerts.{name}") for name, run in parts.items()
            ]
            log.info("watching", parts=list(parts))
            await stop.wait()
            log.info("stopping")
            for task in tasks:
                task.cancel()

    async def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await run()
            except Exception as error:
                ours = error if isinstance(error, StorageError) else classify(error)
                if ours is None:
                    raise
                self.metrics.failures.labels(name).inc()
                self._failing[name] = f"the database is away: {ours}"
                # It goes on by itself, so that only the log can say where it was, and what it met.
                log.warning(
                    "a part failed; starting it again",
                    part=name,
                    error=str(ours),
                    at=place_of(error, "alerts", "storage"),
                )
            await asyncio.sleep(self.options.retry_seconds)
            if name != _PASSES:  # which are well again when the database has answered
                self._failing.pop(name, None)

    async def _work(self) -> None:
        """Do pass after pass on one connection, for as long as the turn is ours; return where it is not."""
        connection = await connect(self.options.database_url, application="alatau-alert")
        try:
            async with deadline(connection, self.options.within_seconds):
                self._failing.pop(_PASSES, None)
                edition = await read_edition(connection)
                if not edition.is_current:
                    sentence = f"the schema is at revision {edition.revision}, which is not ours; run: alatau migrate"
                    self._readiness = Readiness(is_ready=False, sentence=sentence)
                    return
                if not await take_turn(connection, "alatau.alerts"):
                    self._readiness = Readiness(
                        is_ready=True, sentence="waiting: another process has the turn"
                    )
                    return
                await put_builtin_rules(connection, builtin_rules())
            forget_at = 0.0
            while True:
                began = time.monotonic()
                async with deadline(connection, self.options.within_seconds):
                    await self.once(connection)
                    if began >= forget_at:
                        await forget_alerts(connection, self._clock(), keep=self.options.keep)
                        forget_at = began + _FORGET_SECONDS
                took = time.monotonic() - began
                self.metrics.pass_seconds.observe(took)
                self.metrics.last_pass.set(time.time())
                await asyncio.sleep(max(0.0, self.options.every_seconds - took))
        finally:
            # A transaction under way ends with its connection, and so does the turn.
            connection.terminate()

    async def once(self, connection: asyncpg.Connection) -> None:
        """Do one pass."""
        now = self._clock()
        stored = await load_catalogue(connection)
        if stored is None:
            self._readiness = Readiness(
                is_ready=False, sentence="no city is known yet; run: alatau catalog apply"
            )
            return
        findings, blind = await self._find(connection, now, stored[1])
        zone = zoneinfo.ZoneInfo(stored[1].city.timezone)
        async with connection.transaction():
            active = await load_active(connection, now, lock=True)
            made = plan(active, findings, now, zone, blind)
            await store_states(connection, made.new, made.changes, now)
        self.metrics.count_steps(made.new, made.changes)
        self.metrics.count_active(await load_active(connection, now, lock=False))
        self.metrics.blind.set(len(blind))
        failing = f"; can't evaluate {', '.join(sorted(blind))}" if blind else ""
        self._readiness = Readiness(is_ready=not blind, sentence=f"watching{failing}")

    async def _find(
        self, connection: asyncpg.Connection, now: int, catalogue: Catalogue
    ) -> tuple[list[Finding], set[str]]:
        """Return all that holds now, and what could not be evaluated."""
        active = await load_active(connection, now, lock=False)
        scene = Scene(now, catalogue, await read_fleet(connection, catalogue), by_fingerprint(active))
        windows = await windows_under_way(connection, from_microseconds(now))
        rules = await list_rules(connection)
        result = await self._evaluator.evaluate(connection, rules, windows, scene)
        covered = Covered(result.findings, [stored.rule for stored in rules], scene.active)
        for kind, find in self._finds.items():
            try:
                found = covered.without(await find(connection, now))
                result.findings.extend(muffle(found, windows, now))
            except (asyncpg.PostgresError, NotYetError) as error:
                if connection.is_closed():
                    raise
                log.warning("a search can't be made", search=kind, error=str(error))
                result.blind.add(kind)
        return result.findings, result.blind
