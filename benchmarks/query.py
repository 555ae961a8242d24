"""How fast a city's month answers: ``./alatau bench query``.

Two thousand devices, a reading of five metrics a minute for 30 days: 86 million readings, loaded by COPY, their
rollups made by the refresher's own code. Then each question through HTTP, again and again, on one kept connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
import zoneinfo
from collections.abc import Mapping, Sequence

import httpx2
import numpy as np
import uvloop

from api.contract import PREFIX
from benchmarks.keeping import keep_up
from benchmarks.load import Load
from benchmarks.month import KIND, METRICS, Month, load, make_rollups
from benchmarks.report import Measure, Result, options
from benchmarks.rig import peak_of, resident_of, scratch_database, servers
from benchmarks.visibility import api, api_process
from cli.console import Steps, errors
from cli.local import LocalStack
from sensors.catalogue import build_catalogue, builtin_file
from sensors.times import DAY, format_timestamp
from stack.progress import Report
from storage.buckets import boundaries, parse_step
from storage.database import API_ROLE, OWNER_ROLE, connect
from storage.selection import Selection
from storage.series import answer_series
from storage.series_query import Aggregate, GroupBy, SeriesQuery

# The month is what the targets are for; ten days of it take a third of the time.
PARTS = ("month", "ten_days", "refresher")
_TEN_DAYS = 10
Parameters = Mapping[str, str]
_HOUR = 3_600_000_000
_POLYGON = "76.90,43.45 77.05,43.45 77.10,43.62 76.95,43.66"


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; ``repeats`` of each question."""

    devices: int
    days: int
    repeats: int
    buckets: int  # of five minutes, that the refresher is watched for


_FULL, _QUICK = Size(2000, 30, 60, 1), Size(200, 2, 5, 0)
_LIVE_RATE = 10_000.0


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One question, and within how many ms 95 of 100 answers should be there."""

    title: str
    path: str
    parameters: Parameters
    target: float


def questions(month: Month) -> list[Question]:
    """Return what is asked of a month."""
    # Whole days of the city, so that daily rollups may answer.
    zone = zoneinfo.ZoneInfo("Asia/Almaty")
    days = boundaries(month.start, month.end, parse_step("P1D"), zone)
    whole = {"start": format_timestamp(days[1]), "end": format_timestamp(days[-2])}
    last = {"end": format_timestamp(month.end)}
    return [
        Question("latest of all devices", "latest", {"limit": str(month.devices)}, 30),
        Question(
            "30 days by hour, four districts",
            "series",
            {"metric": "pm2_5", "group_by": "district", "step": "PT1H", **whole},
            50,
        ),
        Question(
            "p95 of 30 days by day, four districts",
            "series",
            {"metric": "pm2_5", "agg": "p95", "group_by": "district", "step": "P1D", **whole},
            80,
        ),
        Question(
            "24 h of one device",
            "readings",
            {
                "device": month.device(month.devices // 2),
                "start": format_timestamp(month.end - DAY),
                "limit": "1440",
                **last,
            },
            15,
        ),
        Question(
            "last hour's average inside a polygon",
            "series",
            {
                "metric": "pm2_5",
                "polygon": _POLYGON,
                "step": "PT1H",
                "start": format_timestamp(month.end - _HOUR),
                **last,
            },
            80,
        ),
    ]


def panels(month: Month) -> list[Question]:
    """Return the twelve questions of a dashboard."""
    day = {"start": format_timestamp(month.end - DAY), "end": format_timestamp(month.end)}
    metrics = ("pm1", "pm2_5", "pm10", "no2", "so2")
    every = [
        Question(
            metric, "series", {"metric": metric, "group_by": group, "step": step, "agg": "avg,max", **day}, 0
        )
        for metric in metrics
        for group, step in (("district", "PT15M"), ("none", "PT5M"))
    ]
    return [*every, *questions(month)[1:3]]


class Asker:
    """Asks the API on kept connections."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def ask(self, question: Question) -> float:
        """Return the seconds that one answer took. Raises RuntimeError if it is a problem."""
        started = time.perf_counter()
        answer = await self._client.get(f"{PREFIX}/{question.path}", params=dict(question.parameters))
        seconds = time.perf_counter() - started
        if answer.status_code != 200:
            raise RuntimeError(f"{question.title}: {answer.status_code} {answer.text[:500]}")
        return seconds

    async def repeat(self, question: Question, repeats: int) -> list[float]:
        """Return the seconds of several answers, after one that warms up."""
        await self.ask(question)
        return [await self.ask(question) for _ in range(repeats)]


def _query(month: Month, *, from_readings: bool) -> SeriesQuery:
    """Return the second question as storage is asked it; without percentiles ``exact`` leaves rollups out."""
    zone = zoneinfo.ZoneInfo("Asia/Almaty")
    days = boundaries(month.start, month.end, parse_step("P1D"), zone)
    start, end = days[1], days[-2]
    catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
    return SeriesQuery(
        metrics=("pm2_5",),
        aggregates=frozenset({Aggregate.AVG}),
        start=start,
        end=end,
        boundaries=boundaries(start, end, parse_step("PT1H"), zone),
        group_by=GroupBy.DISTRICT,
        kinds=(catalogue.kind_of[KIND],),
        selection=Selection(),
        exact=from_readings,
    )


async def _storage_seconds(
    stack: LocalStack, database: str, month: Month, repeats: int, *, from_readings: bool
) -> list[float]:
    query = _query(month, from_readings=from_readings)
    connection = await connect(stack.database_url(API_ROLE, database), application="bench")
    try:
        await answer_series(connection, query)
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            answer = await answer_series(connection, query)
            seconds.append(time.perf_counter() - started)
        if from_readings != (answer.sources == ("raw",)):
            raise RuntimeError(f"the answer came from {answer.sources}")
        return seconds
    finally:
        await connection.close()


def _p95(seconds: Sequence[float]) -> float:
    return float(np.percentile(np.array(seconds) * 1000, 95))


async def ask_all(
    stack: LocalStack, database: str, month: Month, size: Size, report: Report
) -> list[Measure]:
    """Ask everything, and return what it took."""
    measures: list[Measure] = []
    async with api(stack, database) as port:
        limits = httpx2.Limits(max_connections=12)
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"X-API-Key": stack.secrets.api_key},
            limits=limits,
            timeout=60,
        ) as client:
            asker = Asker(client)
            every = questions(month)
            http: list[float] = []
            for place, question in enumerate(every):
                report(question.title, place / (len(every) + 3))
                seconds = await asker.repeat(question, size.repeats)
                http = seconds if place == 1 else http
                measures.append(
                    Measure(question.title, _p95(seconds), "ms", "95 of 100", question.target, at_least=False)
                )
            report("twelve panels at once", len(every) / (len(every) + 3))
            seconds = []
            for _ in range(size.repeats):
                started = time.perf_counter()
                await asyncio.gather(*map(asker.ask, panels(month)))
                seconds.append(time.perf_counter() - started)
            measures.append(
                Measure("twelve panels at once", _p95(seconds), "ms", "95 of 100", 300, at_least=False)
            )
    report("the same from readings", 0.9)
    direct = await _storage_seconds(stack, database, month, size.repeats, from_readings=False)
    slow = await _storage_seconds(stack, database, month, 1, from_readings=True)
    measures += [
        Measure("30 days by hour from readings", slow[0] * 1000, "ms"),
        Measure(
            "30 days by hour: rollups against readings",
            float(slow[0] / np.median(http)),
            "times as fast",
            "the same from readings",
            100,
        ),
        Measure(
            "30 days by hour: HTTP against storage",
            float(np.median(http) / np.median(direct)),
            "ratio",
            "the same question to storage itself",
            1.3,
            at_least=False,
        ),
    ]
    return measures


async def stream(stack: LocalStack, database: str, month: Month, rows: int) -> list[Measure]:
    """Fetch readings of all devices as one Parquet file, and look what memory the API takes for it."""
    minutes = max(1, min(rows, month.readings) // month.devices)
    parameters = {
        "kind": KIND,
        "format": "parquet",
        "start": format_timestamp(month.end - minutes * 60_000_000),
        "end": format_timestamp(month.end),
    }
    async with api_process(stack, database) as (port, process):
        before = resident_of(process.pid)
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": stack.secrets.api_key}, timeout=600
        ) as client:
            started, size = time.perf_counter(), 0
            async with client.stream("GET", f"{PREFIX}/readings", params=parameters) as answer:
                if answer.status_code != 200:
                    raise RuntimeError(f"{answer.status_code} {(await answer.aread())[:500]!r}")
                async for piece in answer.aiter_bytes():
                    size += len(piece)
            seconds = time.perf_counter() - started
        grown = (peak_of(process.pid) - before) / 1e6
    count = minutes * month.devices
    return [
        Measure("Parquet, streamed", count / seconds, "rows/s", f"{count:,} readings", 400_000),
        Measure("Parquet: memory of the API", grown, "MB more", "before it", 200, at_least=False),
        Measure("Parquet: size", size / count, "bytes/reading"),
    ]


async def _sizes(stack: LocalStack, database: str, month: Month, rows: int) -> list[Measure]:
    connection = await connect(stack.database_url(OWNER_ROLE, database), application="bench")
    try:
        raw = await connection.fetchval(f"SELECT hypertable_size('reading.{KIND}')")
        minutes = await connection.fetchval(f"SELECT hypertable_size('rollup.{KIND}_5m')")
        hours = await connection.fetchval(f"SELECT hypertable_size('rollup.{KIND}_1h')")
    finally:
        await connection.close()
    return [
        Measure("readings", raw / month.readings, "bytes/reading"),
        Measure("rollups of 5 minutes", minutes / max(rows, 1), f"bytes/row of {METRICS} metrics"),
        Measure("rollups of 5 minutes against readings", minutes / raw, "ratio of bytes"),
        Measure("rollups of an hour against readings", hours / raw, "ratio of bytes"),
    ]


async def _keeping(stack: LocalStack, size: Size, report: Report) -> list[Measure]:
    kept = await keep_up(stack, _LIVE_RATE, size.buckets, report)
    return [
        Measure("refresher beside a load", kept.cpu * 100, "% of a core", "", 25, at_least=False),
        Measure("refresher: bucket clean after its end", kept.behind, "s", "the most", 60, at_least=False),
        Measure("refresher: the load", kept.rate, "readings/s", "asked for", _LIVE_RATE * 0.98),
    ]


async def _questions(stack: LocalStack, month: Month, size: Size, steps: Steps) -> list[Measure]:
    # The load only names the kind whose table and devices a scratch database gets; the month brings its own.
    nothing = Load(0, 1, METRICS, kind=KIND)
    async with contextlib.AsyncExitStack() as exits:
        database = await exits.enter_async_context(scratch_database(stack, nothing))
        with steps.step("loading") as report:
            started = time.monotonic()
            await load(stack, database, month, report)
            loading = time.monotonic() - started
        connection = await connect(stack.database_url(OWNER_ROLE, database), application="bench")
        exits.push_async_callback(connection.close)
        with steps.step("making rollups") as report:
            started = time.monotonic()
            rows = await make_rollups(connection, month, report)
            making = time.monotonic() - started
        measures = [
            Measure("loading", month.readings / loading, "readings/s"),
            Measure("making all rollups", month.readings / making, "readings/s"),
            *await _sizes(stack, database, month, rows),
        ]
        with steps.step("asking") as report:
            measures += await ask_all(stack, database, month, size, report)
        with steps.step("streaming"):
            return [*measures, *await stream(stack, database, month, 10_000_000)]


async def main() -> None:
    """Run the benchmark."""
    asked = options((__doc__ or "").partition("\n")[0], PARTS)
    chosen = set(asked.only)
    size = _QUICK if asked.quick else _FULL
    if "month" not in chosen:
        size = dataclasses.replace(size, days=min(size.days, _TEN_DAYS))
    month = Month(size.devices, size.days, time.time_ns() // 1000 // 60_000_000 * 60_000_000)
    settings = {"devices": size.devices, "days": size.days, "quick": asked.quick}
    result = Result("query", {**settings, "only": sorted(chosen)})
    with Steps(errors) as steps:
        async with servers() as stack:
            if chosen & {"month", "ten_days"}:
                result.measures += await _questions(stack, month, size, steps)
            if "refresher" in chosen:
                with steps.step("the refresher beside 10,000 readings/s") as report:
                    result.measures += await _keeping(stack, size, report)
    result.publish(asked.json)


if __name__ == "__main__":
    uvloop.run(main())
