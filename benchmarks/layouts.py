"""Rollups as wide rows of a kind, against a row for each metric: ``./alatau bench layouts``.

A day of a city, its rollups of five minutes as they are, and the same states as narrow rows with an index of their
own: what both take, what writing them costs, and how fast they answer.
"""

from __future__ import annotations

import contextlib
import statistics
import time

import asyncpg
import uvloop

from benchmarks.load import Load
from benchmarks.month import KIND, METRICS, Month, load, make_rollups
from benchmarks.report import Measure, Result, options
from benchmarks.rig import scratch_database, servers
from cli.console import Steps, errors
from storage.database import OWNER_ROLE, connect
from storage.rollup_tables import state_columns

_WIDE = f'rollup."{KIND}_5m"'
_METRICS = ("pm1", "pm2_5", "pm10", "no2", "so2")
_REPEATS = 9


def _narrow_rows() -> str:
    """Return SQL of the states of the wide rows, a row for each metric."""
    parts = []
    for number, metric in enumerate(_METRICS):
        states = ", ".join(f'"{name}"' for name, _ in state_columns(metric))
        parts.append(
            f'SELECT {number}::smallint, device_id, bucket, {states} FROM {_WIDE} WHERE "{metric}_count" > 0'
        )
    return " UNION ALL ".join(parts)


async def _create(connection: asyncpg.Connection) -> None:
    states = ", ".join(f"{name.removeprefix('x_')} {type_}" for name, type_ in state_columns("x"))
    keys = "metric smallint NOT NULL, device_id int NOT NULL, bucket timestamptz NOT NULL"
    await connection.execute(f"CREATE TABLE narrow ({keys}, {states})")
    await connection.execute("CREATE UNIQUE INDEX ON narrow (metric, device_id, bucket)")
    await connection.execute("CREATE INDEX ON narrow USING brin (bucket)")
    await connection.execute(f"CREATE TABLE wide (LIKE {_WIDE})")
    await connection.execute("CREATE UNIQUE INDEX ON wide (device_id, bucket)")
    await connection.execute("CREATE INDEX ON wide USING brin (bucket)")


async def _seconds(connection: asyncpg.Connection, statement: str) -> float:
    started = time.perf_counter()
    await connection.execute(statement)
    return time.perf_counter() - started


async def _median(connection: asyncpg.Connection, statement: str) -> float:
    await connection.execute(statement)
    return statistics.median([await _seconds(connection, statement) for _ in range(_REPEATS)]) * 1000


# What series ask for: one metric of all devices, and all metrics of one device, by hour.
_QUESTIONS = {
    "one metric of all devices": (
        "SELECT date_trunc('hour', bucket), sum(pm2_5_count), sum(pm2_5_sum), max(pm2_5_max) FROM wide GROUP BY 1",
        "SELECT date_trunc('hour', bucket), sum(count), sum(sum), max(max) FROM narrow WHERE metric = 1 GROUP BY 1",
    ),
    "five metrics of one device": (
        "SELECT date_trunc('hour', bucket), "
        + ", ".join(f'sum("{metric}_sum")' for metric in _METRICS)
        + " FROM wide WHERE device_id = 7 GROUP BY 1",
        "SELECT date_trunc('hour', bucket), metric, sum(sum) FROM narrow "
        "WHERE device_id = 7 AND metric IN (0, 1, 2, 3, 4) GROUP BY 1, 2",
    ),
}


async def compare(connection: asyncpg.Connection) -> list[Measure]:
    """Fill both layouts with the same states, and return how they compare."""
    await _create(connection)
    wide = await _seconds(connection, f"INSERT INTO wide SELECT * FROM {_WIDE} ORDER BY bucket, device_id")
    narrow = await _seconds(connection, f"INSERT INTO narrow {_narrow_rows()} ORDER BY 3, 2")
    await connection.execute("ANALYZE wide")
    await connection.execute("ANALYZE narrow")
    sizes = [
        await connection.fetchval("SELECT pg_total_relation_size($1)", name) for name in ("wide", "narrow")
    ]
    rows = await connection.fetchval("SELECT count(*) FROM wide")
    measures = [
        Measure("wide: bytes", sizes[0] / rows, f"bytes of {METRICS} metrics"),
        Measure("narrow: bytes", sizes[1] / rows, f"bytes of {METRICS} metrics"),
        Measure("narrow against wide: bytes", sizes[1] / sizes[0], "ratio", "wide"),
        Measure("narrow against wide: writing", narrow / wide, "ratio of time", "wide"),
    ]
    for title, (of_wide, of_narrow) in _QUESTIONS.items():
        took = await _median(connection, of_wide), await _median(connection, of_narrow)
        measures += [
            Measure(f"wide: {title}", took[0], "ms"),
            Measure(f"narrow against wide: {title}", took[1] / took[0], "ratio of time", "wide"),
        ]
    return measures


async def main() -> None:
    """Run the benchmark."""
    asked = options((__doc__ or "").partition("\n")[0])
    devices = 100 if asked.quick else 2000
    month = Month(devices, 1, time.time_ns() // 1000 // 300_000_000 * 300_000_000)
    result = Result("layouts", {"devices": devices, "quick": asked.quick})
    with Steps(errors) as steps:
        async with contextlib.AsyncExitStack() as exits:
            stack = await exits.enter_async_context(servers())
            database = await exits.enter_async_context(
                scratch_database(stack, Load(0, 1, METRICS, kind=KIND))
            )
            with steps.step("loading") as report:
                await load(stack, database, month, report)
            connection = await connect(stack.database_url(OWNER_ROLE, database), application="bench")
            exits.push_async_callback(connection.close)
            with steps.step("making rollups") as report:
                await make_rollups(connection, month, report)
            with steps.step("comparing"):
                result.measures += await compare(connection)
    result.publish(asked.json)


if __name__ == "__main__":
    uvloop.run(main())
