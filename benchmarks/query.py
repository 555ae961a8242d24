"""How fast a city's month answers: ``./alatau bench query``.

Two thousand devices, a reading of five metrics a minute for 30 days: 86 million readings, loaded by COPY, their
rollups made by the refresher's own code. Then each question through HTTP, again and again, on one kept connection.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence

import asyncpg
import httpx2
import numpy as np
import uvloop

from api.contract import PREFIX
from benchmarks.asking import Asker
from benchmarks.keeping import keep_up
from benchmarks.load import Load
from benchmarks.month import KIND, METRICS, Month, load, make_rollups
from benchmarks.questions import BY_HOUR, from_readings, panels, questions
from benchmarks.report import Measure, Result, options
from benchmarks.rig import peak_of, resident_of, scratch_database, servers
from benchmarks.statements import seconds_of_statements
from benchmarks.visibility import api, api_process
from cli.console import Steps, errors
from cli.local import LocalStack
from sensors.times import format_timestamp
from stack.progress import Report
from storage.database import API_ROLE, OWNER_ROLE, connect

# The month is what the targets are for; ten days of it take a third of the time.
PARTS = ("month", "ten_days", "refresher")
_TEN_DAYS = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; ``repeats`` of each question."""

    devices: int
    days: int
    repeats: int
    buckets: int  # of five minutes, that the refresher is watched for


_FULL, _QUICK = Size(2000, 30, 60, 1), Size(200, 2, 5, 0)
_LIVE_RATE = 10_000.0


async def ask_all(
    stack: LocalStack, database: str, month: Month, size: Size, report: Report
) -> list[Measure]:
    """Ask everything, and return what it took."""
    async with contextlib.AsyncExitStack() as exits:
        connection = await connect(stack.database_url(API_ROLE, database), application="bench")
        exits.push_async_callback(connection.close)
        port = await exits.enter_async_context(api(stack, database))
        asker = exits.enter_context(contextlib.closing(Asker(port, stack.secrets.api_key)))
        measures: list[Measure] = []
        http: dict[str, float] = {}
        sql: dict[str, float] = {}
        every = questions(month)
        for place, question in enumerate(every):
            report(question.title, place / (len(every) + 2))
            seconds = await asyncio.to_thread(
                _repeat, asker, question.path, question.parameters, size.repeats
            )
            http[question.title] = float(np.median(seconds))
            alone = await seconds_of_statements(connection, question.storage, size.repeats)
            sql[question.title] = float(np.median(alone))
            measures.append(_within(question.title, seconds, question.target))
        nothing = await asyncio.to_thread(_repeat, asker, "kinds", {}, size.repeats)
        measures.append(Measure("an answer without SQL", float(np.median(nothing)) * 1000, "ms"))
        report("twelve panels at once", len(every) / (len(every) + 2))
        seconds = await _ask_panels(stack, port, month, size.repeats)
        measures.append(_within("twelve panels at once", seconds, 300))
        report("the same from readings", (len(every) + 1) / (len(every) + 2))
        slow = await _seconds_from_readings(connection, month)
    for title, of_http in http.items():
        yardstick = f"its SQL alone, {sql[title] * 1000:.2f} ms"
        measures.append(Measure(f"{title}: HTTP against SQL", of_http / sql[title], "ratio", yardstick))
    return [
        *measures,
        Measure(
            "all five: HTTP against SQL",
            sum(http.values()) / sum(sql.values()),
            "ratio",
            "the same statements through asyncpg",
            1.3,
            at_least=False,
        ),
        Measure("30 days by hour from readings", slow * 1000, "ms"),
        Measure(
            "30 days by hour: rollups against readings",
            slow / http[BY_HOUR],
            "times as fast",
            "the same from readings",
            100,
        ),
    ]


def _within(title: str, seconds: Sequence[float], target: float) -> Measure:
    most = float(np.percentile(np.array(seconds) * 1000, 95))
    return Measure(title, most, "ms", "95 of 100", target, at_least=False)


async def _seconds_from_readings(connection: asyncpg.Connection, month: Month) -> float:
    started = time.perf_counter()
    answer = await from_readings(connection, month)
    if answer.sources != ("raw",):
        raise RuntimeError(f"the answer came from {answer.sources}")
    return time.perf_counter() - started


def _repeat(asker: Asker, path: str, parameters: Mapping[str, str], repeats: int) -> list[float]:
    """Return the seconds of several answers, after one that warms up."""
    for _ in range(repeats + 1):
        asker.ask(path, parameters)
    return asker.took[-repeats:]


async def _ask_panels(stack: LocalStack, port: int, month: Month, repeats: int) -> list[float]:
    """Return the seconds of all twelve, which are asked at once, each on a connection of its own."""
    asked = panels(month)
    with contextlib.ExitStack() as exits, concurrent.futures.ThreadPoolExecutor(len(asked)) as threads:
        askers = [exits.enter_context(contextlib.closing(Asker(port, stack.secrets.api_key))) for _ in asked]

        def ask_all_at_once() -> float:
            started = time.perf_counter()
            for _ in threads.map(lambda asker, one: asker.ask(one.path, one.parameters), askers, asked):
                pass
            return time.perf_counter() - started

        return [await asyncio.to_thread(ask_all_at_once) for _ in range(repeats + 1)][1:]


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
