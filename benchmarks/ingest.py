"""How close the full path comes to its slowest stage, and what it does in time: ``./alatau bench ingest``.

Composes the parts: stages alone (``stages``), the full path and its variants (``paths``, ``peer``), visibility,
and endurance. What is compared runs in rounds, one after the other, so that a machine whose speed changes changes
it for both; a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import uvloop

from benchmarks.endurance import WINDOW, Burst, burst, full_window, soak, soak_load
from benchmarks.load import Load
from benchmarks.paths import Path, full_path
from benchmarks.report import Measure, Result, options
from benchmarks.rig import INGEST, servers
from benchmarks.schedule import Schedule
from benchmarks.stages import (
    copy_alone,
    generator_to_broker,
    generator_to_sink,
    null_subscriber,
    psql_alone,
)
from benchmarks.visibility import POLL_SECONDS, visibility
from cli.console import Steps, errors
from cli.local import LocalStack
from stack.progress import Report

PARTS = ("stages", "generator", "peer", "workers", "bad", "memory", "visibility", "burst", "soak")
# These are held against the full path of the same round.
_IN_ROUNDS = frozenset({"stages", "generator", "peer", "workers", "bad", "burst"})
Step: TypeAlias = Callable[[], Awaitable[Any]]
_PEER = ("benchmarks.peer",)
_BACKGROUND_RATE = 10_000.0
_MEANWHILE_RATE = 5_000.0
_SOAK_RATE = 20_000.0
_HOUR_MS = 3_600_000


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; ``seconds`` is what one step of a round usually takes."""

    readings: int
    rounds: int
    peer_readings: int
    probes: int
    backlog: int
    soak_seconds: int
    seconds: float


_FULL = Size(600_000, 3, 100_000, 300, 2_000_000, 1800, 17)
_QUICK = Size(50_000, 1, 20_000, 30, 100_000, 60, 6)


class Bench:
    """One run on one stack; ``taken`` holds what each step of the rounds came to, round by round."""

    def __init__(self, stack: LocalStack, size: Size, chosen: Collection[str], steps: Steps) -> None:
        self._stack = stack
        self._size = size
        self._chosen = chosen
        self._now = time.time_ns() // 1_000_000
        self.taken: dict[str, list[Any]] = {}
        self._schedule = Schedule(steps, self._expected())

    def _expected(self) -> dict[str, float]:
        size = self._size
        titles = [
            f"round {number + 1} of {size.rounds}: {name}"
            for number in range(size.rounds)
            for name in self._round()
        ]
        alone = {
            "memory": size.seconds,
            "visibility": size.probes * 0.15 + size.seconds,
            "burst": size.backlog / 40_000 + size.seconds,
            "burst, peer": size.peer_readings / 5000 + size.seconds,
            "soak": size.soak_seconds * 1.01 + size.seconds,
        }
        seconds = dict.fromkeys(titles, size.seconds)
        return seconds | {
            name: value for name, value in alone.items() if set(name.split(", ")) <= set(self._chosen)
        }

    def _load(self, metrics: int, **changes: Any) -> Load:
        load = Load(self._size.readings, 1000, metrics, start=self._now - 24 * _HOUR_MS)
        return dataclasses.replace(load, **changes)

    def _round(self) -> dict[str, Step]:
        """Return the steps of one round by name, in their order: what is compared is close together."""
        if not _IN_ROUNDS & set(self._chosen):
            return {}
        steps = self._stages(5) | self._variants()
        return steps | self._stages(10) if "stages" in self._chosen else steps

    def _stages(self, metrics: int) -> dict[str, Step]:
        stack, load, partial = self._stack, self._load(metrics), functools.partial
        full: dict[str, Step] = {f"full path {metrics}": partial(full_path, stack, load)}
        if "stages" not in self._chosen:
            return full
        return {
            f"COPY {metrics}": partial(copy_alone, stack, load),
            f"psql {metrics}": partial(psql_alone, stack, load),
            f"null subscriber {metrics}": partial(null_subscriber, stack, load),
            **full,
        }

    def _variants(self) -> dict[str, Step]:
        stack, load, partial = self._stack, self._load(5), functools.partial
        fewer = self._load(5, count=self._size.peer_readings)
        variants: dict[str, dict[str, Step]] = {
            "peer": {"peer": partial(full_path, stack, fewer, program=_PEER)},
            "workers": {"two workers": partial(full_path, stack, load, workers=2)},
            "bad": {"half bad": partial(full_path, stack, self._load(5, bad=0.5))},
            "generator": {
                "generator to the broker": partial(generator_to_broker, stack, load),
                "generator to the sink": partial(generator_to_sink, stack, load),
            },
        }
        return {
            name: step
            for part, steps in variants.items()
            if part in self._chosen
            for name, step in steps.items()
        }

    async def rounds(self) -> None:
        """Take every step of every round."""
        for number in range(self._size.rounds):
            for name, take in self._round().items():
                with self._schedule.step(f"round {number + 1} of {self._size.rounds}: {name}"):
                    self.taken.setdefault(name, []).append(await take())

    def median(self, name: str, field: str = "rate") -> float:
        """Return the median of a step's rate over the rounds, or of another field of its Path."""
        values = [getattr(path, field) for path in self.taken[name]] if field != "rate" else self._rates(name)
        return float(statistics.median(values))

    def ratio(self, name: str, *yardsticks: str) -> float:
        """Return the median over the rounds of a step's rate divided by the lowest of others in that round."""
        lowest = map(min, zip(*map(self._rates, yardsticks), strict=True))
        return float(
            statistics.median(
                rate / yardstick for rate, yardstick in zip(self._rates(name), lowest, strict=True)
            )
        )

    def _rates(self, name: str) -> list[float]:
        return [value.rate if isinstance(value, Path) else value for value in self.taken[name]]

    def paths(self) -> Iterator[tuple[str, list[Path]]]:
        """Yield the runs of the full path and its variants by name."""
        for name, values in self.taken.items():
            if isinstance(values[0], Path):
                yield name, values

    # -- what the rounds came to ------------------------------------------------------------------

    def round_measures(self) -> Iterator[Measure]:
        """Yield the measures of the chosen parts that run in rounds."""
        if "stages" in self._chosen:
            yield from self._stage_measures(5)
            yield from self._stage_measures(10)
        elif self.taken:
            yield Measure("5 metrics: full path", self.median("full path 5"), "readings/s")
        if "generator" in self._chosen:
            yield from self._generator_measures()
        if "peer" in self._chosen:
            yield from self._peer_measures()
        if "workers" in self._chosen:
            yield from self._workers_measures()
        if "bad" in self._chosen:
            yield from self._bad_measures()
        if self.taken:
            lost = sum(abs(path.lost) for _, paths in self.paths() for path in paths)
            yield Measure("lost, all paths above", lost, "readings", "published", 0, at_least=False)

    def _stage_measures(self, metrics: int) -> Iterator[Measure]:
        title, full, null = f"{metrics} metrics", f"full path {metrics}", f"null subscriber {metrics}"
        copy, psql = f"COPY {metrics}", f"psql {metrics}"
        points = self.median(full, "total") / metrics
        against = self.ratio(full, null, copy)
        ingest_target, point_target = (8, 5.0) if metrics == 5 else (None, 2.5)
        yield Measure(
            f"{title}: null QoS 1 subscriber", self.median(null), "messages/s", "the broker's ceiling"
        )
        yield Measure(f"{title}: binary COPY", self.median(copy), "rows/s", "the database's ceiling")
        yield Measure(
            f"{title}: COPY against psql",
            self.ratio(copy, psql),
            "ratio",
            "psql \\copy, same bytes",
            0.95,
        )
        yield Measure(f"{title}: full path", self.median(full), "readings/s")
        yield Measure(f"{title}: full path against its slowest stage", against, "ratio", "stages above", 0.8)
        for name, target in (("ingest", ingest_target), ("broker", None), ("database", None)):
            value = self.median(full, name)
            yield Measure(f"{title}: {name} CPU", value, "µs/reading", "", target, at_least=False)
        yield Measure(f"{title}: whole path CPU", points, "core-µs/point", "", point_target, at_least=False)
        yield Measure(f"{title}: ingest resident memory", self.median(full, "resident"), "MB")

    def _generator_measures(self) -> Iterator[Measure]:
        for place, target in (("broker", 2.0), ("sink", None)):
            name = f"generator to the {place}"
            yield Measure(f"{name}: rate", self.median(name), "messages/s")
            yardstick = self.ratio(name, "full path 5")
            yield Measure(f"{name}: against the full path", yardstick, "ratio", "full path", target)

    def _peer_measures(self) -> Iterator[Measure]:
        peer = "paho-mqtt and copy_records_to_table"
        yield Measure(f"{peer}: rate", self.median("peer"), "readings/s")
        yield Measure(f"{peer}: ingest CPU", self.median("peer", "ingest"), "µs/reading")
        times = self.median("peer", "ingest") / self.median("full path 5", "ingest")
        yield Measure(f"{peer}: ingest CPU against ours", times, "ratio", "full path")
        yield Measure("full path against that peer", self.ratio("full path 5", "peer"), "ratio", peer, 5)

    def _workers_measures(self) -> Iterator[Measure]:
        workers: list[Path] = self.taken["two workers"]
        ratio = self.ratio("two workers", "full path 5")
        yield Measure("two workers: against one", ratio, "ratio", "full path")
        for name, value in (
            ("lost", sum(abs(path.lost) for path in workers)),
            ("repeated", sum(path.repeated for path in workers)),
        ):
            yield Measure(f"two workers: {name}", value, "readings", "published", 0, at_least=False)

    def _bad_measures(self) -> Iterator[Measure]:
        good = self._load(5, bad=0.5).good / self._size.readings
        ratio = self.ratio("half bad", "full path 5")
        yield Measure("half bad: messages against a clean load", ratio, "ratio", "full path", 0.7)
        yield Measure("half bad: good readings against a clean load", ratio * good, "ratio", "full path")
        yield Measure("half bad: ingest CPU", self.median("half bad", "ingest"), "µs/message")

    # -- what runs alone --------------------------------------------------------------------------

    async def alone(self) -> AsyncIterator[list[Measure]]:
        """Run the chosen parts that are not compared round by round, and yield the measures of each."""
        parts = {
            "memory": self._memory,
            "visibility": self._visibility,
            "burst": self._burst,
            "soak": self._soak,
        }
        for name, part in parts.items():
            if name in self._chosen:
                yield await part()

    async def _memory(self) -> list[Measure]:
        with self._schedule.step("memory"):
            window = await full_window(self._stack, self._load(5, count=WINDOW * 3 // 2))
        held = f"{WINDOW:,} unacknowledged"
        return [
            Measure("full window: ingest memory, held", window.held, "MB", held),
            Measure("full window: ingest memory, most", window.peak, "MB", held, 300, at_least=False),
            Measure("full window: lost", window.lost, "readings", "published", 0, at_least=False),
        ]

    async def _visibility(self) -> list[Measure]:
        # Twice as long as the slowest that is still within its target.
        count = int(self._size.probes * _BACKGROUND_RATE) + 60 * int(_BACKGROUND_RATE)
        load = self._load(5, count=count, rate=_BACKGROUND_RATE, start=self._now - _HOUR_MS)
        with self._schedule.step("visibility") as report:
            seen = await visibility(self._stack, load, self._size.probes, report)
        median, late = np.percentile(seen.seconds * 1000, [50, 99]).tolist()
        polled = f"asked every {POLL_SECONDS * 1000:.0f} ms"
        return [
            Measure("visible through the API, median", median, "ms", polled),
            Measure("visible through the API, 99th percentile", late, "ms", polled, 250, at_least=False),
            Measure("visible: one question of the API", seen.question * 1000, "ms", "part of the above"),
            Measure("visible: load beside it", seen.rate, "readings/s", "asked for", _BACKGROUND_RATE * 0.98),
            Measure("visible: lost", seen.lost, "readings", "published", 0, at_least=False),
        ]

    async def _burst(self) -> list[Measure]:
        with self._schedule.step("burst") as report:
            drained = await self._drain(self._size.backlog, report)
        ratio = drained.rate / self.median("full path 5")
        measures = [
            Measure("burst: drain", drained.rate, "readings/s", f"{self._size.backlog:,} at the broker"),
            Measure("burst: drain against the full path", ratio, "ratio", "full path", 0.8),
            Measure("burst: lost", drained.lost, "readings", "published", 0, at_least=False),
        ]
        if "peer" not in self._chosen:
            return measures
        with self._schedule.step("burst, peer") as report:
            peer = await self._drain(2 * self._size.peer_readings, report, _PEER)
        name = "paho-mqtt and copy_records_to_table"
        against = drained.rate / peer.rate
        return [
            *measures,
            Measure(f"burst: drain of {name}", peer.rate, "readings/s"),
            Measure("burst: drain against that peer's", against, "ratio", name, 5),
        ]

    async def _drain(self, backlog: int, report: Report, program: Sequence[str] = INGEST) -> Burst:
        # As many meanwhile as come if the backlog drains at 2,000 readings/s.
        meanwhile = self._load(
            5,
            count=int(backlog / 2000 * _MEANWHILE_RATE),
            rate=_MEANWHILE_RATE,
            start=self._now - _HOUR_MS,
        )
        return await burst(self._stack, self._load(5, count=backlog), meanwhile, report, program)

    async def _soak(self) -> list[Measure]:
        start = time.time_ns() // 1_000_000
        load = soak_load(_SOAK_RATE, self._size.soak_seconds, start)
        with self._schedule.step("soak") as report:
            soaked = await soak(self._stack, load, report)
        rate, memory = soaked.last_rate / soaked.first_rate, soaked.last_resident / soaked.first_resident
        sixth = "last sixth of the time against the first"
        return [
            Measure("soak: rate", soaked.rate, "readings/s", "asked for", _SOAK_RATE * 0.98),
            Measure("soak: rate at the end", rate, "ratio", sixth, 0.98),
            Measure("soak: ingest memory at the end", memory, "ratio", sixth, 1.05, at_least=False),
            Measure("soak: ingest memory, most", soaked.last_resident, "MB"),
            Measure("soak: generator CPU", soaked.generator * 100, "% of a core"),
            Measure("soak: lost", soaked.lost, "readings", "published", 0, at_least=False),
        ]


async def main() -> None:
    """Run the benchmark."""
    asked = options((__doc__ or "").partition("\n")[0], PARTS)
    size = _QUICK if asked.quick else _FULL
    # As the worker has it, so that the null subscriber, which lives in this process, is no slower for it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    settings = {**dataclasses.asdict(size), "devices": 1000, "quick": asked.quick, "parts": asked.only}
    result = Result("ingest", settings)
    try:
        with Steps(errors) as steps:
            async with servers() as stack:
                bench = Bench(stack, size, asked.only, steps)
                await bench.rounds()
                result.measures += bench.round_measures()
                async for measures in bench.alone():
                    result.measures += measures
    finally:
        # When a part fails, what the others came to is not lost.
        if result.measures:
            result.publish(asked.json)


if __name__ == "__main__":
    uvloop.run(main())
