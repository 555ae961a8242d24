"""The search for anomalies as the process calls it: learns, keeps up with the rollups, says what it finds.

Baselines live in the process. Each kind and metric is learned from five weeks of hourly rollups at the start, and
again when it is a day old; who comes between is not judged until then, and changes nothing for the others. Memory is
about 1 KB for each series, most of it the 168 hours of the week. At the start 36 hours of five-minute rollups are taken
again, so that what was found before is found still; until then the search says that it can't say anything yet, and
alerts stay as they are. All of that is done in pieces that fit into a pass.
"""

from __future__ import annotations

import asyncio
import time
import zoneinfo
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from alerts.anomalies import Detector
from alerts.anomaly_findings import Anomaly, Names, found
from alerts.anomaly_sentences import sentence_of, title_of
from alerts.arrivals import Usual, learn_usual
from alerts.baseline import WEEKS, Baseline, hour_of_week
from alerts.finding import Find, Finding, NotYetError
from alerts.history import counts_of, history_of
from alerts.layout import Part, carry, lay_out, parts_of
from alerts.learned import Learned
from alerts.learning import learn
from alerts.memory import BUCKET, Bucket
from alerts.neighbours import Ints
from alerts.quality_findings import finding_of_change, fingerprint_of_change
from alerts.quality_search import QualitySearch
from alerts.speech import Speech
from sensors.catalogue import Catalogue
from sensors.kinds import Behaviour
from sensors.times import DAY, SECOND
from storage.anomaly_inputs import Watched, count_earlier, read_states, read_watched
from storage.catalogue import load_catalogue
from storage.kinds import Connection
from storage.rollup_marks import NEVER
from storage.rollup_progress import read_progress
from storage.rollup_tables import HOUR, Tier

REPLAY = 36 * HOUR
_BUCKETS_AT_ONCE = 12
_CLEAR = 1800 * SECOND
_SEVERITY = {"spike": "info"}


class Watch:
    """Finds anomalies. One for a process; ``budget`` is how long it may learn and catch up in a pass, seconds."""

    def __init__(self, budget: float = 5.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._budget = budget
        self._monotonic = monotonic
        self._watched: Watched | None = None
        self._catalogue: Catalogue | None = None
        self._parts: list[Part] = []
        self._learned = Learned()
        self._quality = QualitySearch()
        self._is_ready = False
        self._detector: Detector | None = None
        self._names = Names((), (), (), ())
        # What came of the last pass: each kind of finding asks for the same.
        self._said: tuple[int, list[Finding] | NotYetError] = (-1, [])

    def finds(self) -> dict[str, Find]:
        """Return the evaluations by kind of rule; they share one search in each pass."""

        def of(kind: str) -> Find:
            async def find(connection: Connection, now: int) -> list[Finding]:
                return [one for one in await self._said_at(connection, now) if one.kind_of_rule == kind]

            return find

        return {kind: of(kind) for kind in ("anomaly", "event", "quality")}

    async def _said_at(self, connection: Connection, now: int) -> list[Finding]:
        if self._said[0] != now:
            try:
                self._said = (now, await self.find(connection, now))
            except NotYetError as error:
                self._said = (now, error)
        if isinstance(self._said[1], NotYetError):
            raise self._said[1]
        return self._said[1]

    async def find(self, connection: Connection, now: int) -> list[Finding]:
        """Return everything that is off at ``now``, Unix µs. Raises NotYetError until enough was read once."""
        end = self._monotonic() + self._budget
        stored = await load_catalogue(connection)
        every = await read_watched(connection)
        if stored is None or not len(every.number):
            return []
        complete = await self._complete_to(connection, set(every.kind), now)
        if not complete:
            return []
        watched = every.only(complete)
        self._arrange(watched, stored[1])
        until = min(complete.values())
        await self._learn(connection, watched, until, end)
        # Only at the start: from then on what is not known yet is not judged, and silences nothing that is.
        if not self._is_ready and not self._learned.has_all(self._parts):
            raise NotYetError("the history is still being read")
        await self._quality.learn_refused(connection, watched, until)
        self._is_ready |= await self._catch_up(connection, watched, until, end)
        if self._detector is None or not self._is_ready:
            raise NotYetError("the history is still being read")
        return await self._findings(connection, self._detector, watched, now)

    def _arrange(self, watched: Watched, catalogue: Catalogue) -> None:
        """Lay the series out anew when devices or the catalogue have changed; keep what is known of the others."""
        before = self._watched
        same = before is not None and all(
            getattr(before, name) == getattr(watched, name) for name in ("id", "kind", "district", "every")
        )
        if same and self._catalogue == catalogue:
            return
        self._watched, self._catalogue = watched, catalogue
        self._parts = parts_of(watched, catalogue)
        layout, names = lay_out(self._parts, watched, catalogue)
        zone = zoneinfo.ZoneInfo(catalogue.city.timezone)
        detector = Detector(layout, self._learned.baseline(self._parts, watched), zone)
        detector.memory.seen = watched.seen.copy()
        if self._detector is not None:
            detector.time = self._detector.time
            detector.memory = carry(self._detector, self._names, detector, names)
        self._detector, self._names = detector, names
        self._quality.arrange(watched)
        self._quality.learned(*self._learned.usual(self._parts, watched))

    async def _complete_to(self, connection: Connection, kinds: set[str], now: int) -> dict[str, int]:
        """Return up to when rollups of each kind are complete, Unix µs, at most ``now``; of others there are none yet.

        Raises NotYetError while the first are being made, and nothing is known of others.
        """
        progress = await read_progress(connection)
        clean = {kind: progress[kind].clean_to for kind in kinds if kind in progress}
        if NEVER in clean.values() and not self._is_ready:
            raise NotYetError("rollups are still being made")
        return {kind: min(now, to) // BUCKET * BUCKET for kind, to in clean.items() if to != NEVER}

    async def _learn(self, connection: Connection, watched: Watched, until: int, end: float) -> None:
        """Learn what is not known or a day old, the oldest first, as long as there is time."""
        has_learned = False
        for part in self._learned.due(self._parts, watched, until):
            if has_learned and self._monotonic() >= end:
                break
            baseline, usual = await self._learn_part(connection, watched, part, until)
            self._learned.put(part, watched, until, baseline, usual)
            has_learned = True
        if has_learned and self._detector is not None:
            self._detector.baseline = self._learned.baseline(self._parts, watched)
            self._quality.learned(*self._learned.usual(self._parts, watched))

    async def _learn_part(
        self, connection: Connection, watched: Watched, part: Part, until: int
    ) -> tuple[Baseline, Usual]:
        if self._detector is None:
            raise RuntimeError("nothing is laid out yet")
        stop = until // HOUR * HOUR
        start = stop - WEEKS * 7 * DAY
        numbers, interval = watched.number[part.devices], watched.interval[part.devices]
        (states,) = await read_states(connection, part.kind, Tier.HOUR, (part.metric.name,), start, stop)
        slots = hour_of_week(np.arange(start, stop, HOUR), self._detector.zone)
        _, district = np.unique(np.array(part.districts(watched)), return_inverse=True)

        def compute() -> tuple[Baseline, Usual]:
            history = history_of(states, numbers, start, len(slots), part.metric)
            usual = learn_usual(counts_of(states, numbers, start, len(slots)), interval)
            return learn(history, slots, district, part.metric), usual

        return await asyncio.to_thread(compute)

    async def _catch_up(self, connection: Connection, watched: Watched, until: int, end: float) -> bool:
        """Take the buckets up to ``until``; return whether they all were taken before ``end``."""
        detector, quality = self._detector, self._quality
        if detector is None:
            return False
        if detector.time == 0 or until - detector.time > REPLAY:
            detector.time = until - REPLAY

        def step(buckets: list[Bucket], refused: Ints) -> None:
            for bucket, of_bucket in zip(buckets, refused, strict=True):
                detector.step(bucket)
                quality.step(bucket, of_bucket)

        while detector.time < until:
            start = detector.time
            stop = min(until, start + _BUCKETS_AT_ONCE * BUCKET)
            buckets = await self._read(connection, watched, start, stop)
            refused = await quality.refused(connection, watched, start, stop)
            await asyncio.to_thread(step, buckets, refused)
            if detector.time >= until:
                await quality.count_again(connection, watched, self._names, until)
            if self._monotonic() >= end:
                break
        return detector.time >= until

    async def _read(self, connection: Connection, watched: Watched, start: int, stop: int) -> list[Bucket]:
        """Return the buckets from ``start`` to before ``stop``, Unix µs."""
        count, series = (stop - start) // BUCKET, len(self._names.metric)
        shape = (count, series)
        columns: dict[str, npt.NDArray[Any]] = {
            "count": np.zeros(shape, np.int64),
            **{name: np.full(shape, np.nan, np.float32) for name in ("mean", "low", "high", "m2")},
            "last": np.full(shape, np.nan),
            "last_at": np.zeros(shape, np.int64),
        }
        first = 0
        for kind in dict.fromkeys(part.kind for part in self._parts):
            devices = next(part.devices for part in self._parts if part.kind is kind)
            numbers = watched.number[devices]
            order = np.argsort(numbers)
            for states in await read_states(connection, kind, Tier.MINUTES, kind.columns, start, stop):
                at = np.minimum(np.searchsorted(numbers[order], states.device), len(order) - 1)
                kept = (numbers[order][at] == states.device) & (states.count > 0)
                where = ((states.bucket[kept] - start) // BUCKET, first + order[at[kept]])
                for name, column in columns.items():
                    column[where] = getattr(states, name)[kept]
                first += len(devices)
        return [
            Bucket(start + place * BUCKET, *(columns[name][place] for name in columns))
            for place in range(count)
        ]

    async def _findings(
        self, connection: Connection, detector: Detector, watched: Watched, now: int
    ) -> list[Finding]:
        excused = self._quality.excused(detector.time - detector.memory.seen)
        anomalies = {fingerprint_of(anomaly): anomaly for anomaly in found(detector, self._names, excused)}
        silent = detector.silent() & ~excused
        changes = {
            fingerprint_of_change(change): change
            for change in await self._quality.changes(connection, watched, self._names, silent)
        }
        earlier = await count_earlier(connection, [*anomalies, *changes], now - 30 * DAY)
        english = Speech(now, detector.zone, self._catalogue)
        return [
            finding_of(anomaly, fingerprint, english, earlier.get(fingerprint, 0))
            for fingerprint, anomaly in anomalies.items()
        ] + [
            finding_of_change(change, fingerprint, english, earlier.get(fingerprint, 0))
            for fingerprint, change in changes.items()
        ]


def fingerprint_of(anomaly: Anomaly) -> str:
    """Return what makes two anomalies the same thing at two times."""
    family = "departure" if anomaly.pattern == "drift" else anomaly.pattern
    if anomaly.device:
        return f"anomaly/{family}/{anomaly.device}"
    return f"event/{family}/{anomaly.district or 'city'}/{anomaly.kind or 'all'}"


def finding_of(anomaly: Anomaly, fingerprint: str, english: Speech, times: int) -> Finding:
    """Return an anomaly with its explanation; ``times`` is how often it was so within 30 days before."""
    title, sentence = title_of(anomaly), sentence_of(anomaly, english.now, times)
    neighbours = {"count": anomaly.neighbours, "unusual": anomaly.unusual} if anomaly.neighbours else None
    return Finding(
        fingerprint=fingerprint,
        rule=None,
        kind_of_rule="anomaly" if anomaly.device else "event",
        severity=_SEVERITY.get(anomaly.pattern, "warning"),
        title=english.say(title),
        sentence=english.say(*sentence),
        message={"title": title, "sentence": sentence},
        device=anomaly.device,
        kind=anomaly.kind,
        district=anomaly.district,
        metric=anomaly.metric.name if anomaly.metric else None,
        value=anomaly.value,
        low=anomaly.low,
        high=anomaly.high,
        since=anomaly.since,
        evidence={
            "pattern": anomaly.pattern,
            "neighbours": neighbours,
            "times_in_30_days": times,
            **({"also": list(anomaly.also)} if anomaly.also else {}),
            **({"per": "hour"} if anomaly.metric and anomaly.metric.behaviour is Behaviour.COUNTER else {}),
        },
        clear=_CLEAR,
    )
