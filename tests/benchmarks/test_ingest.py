"""Every part of ``bench ingest`` once, with very small loads on the real servers: they run, and they count."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from rich.console import Console

from benchmarks.ingest import PARTS, Bench, Size
from benchmarks.report import Measure
from benchmarks.rig import forget
from cli.console import Steps
from cli.local import LocalStack
from storage.database import connect
from tests.docs.markdown import read

pytestmark = pytest.mark.servers

TINY = Size(readings=3000, rounds=1, peer_readings=2000, probes=3, backlog=5000, soak_seconds=2, seconds=1)


async def measure(stack: LocalStack, parts: Sequence[str]) -> dict[str, Measure]:
    # Workers of other tests have the same names, and the broker keeps their sessions.
    for number in range(2):
        await forget(stack, number)
    with Steps(Console(quiet=True)) as steps:
        bench = Bench(stack, TINY, parts, steps)
        await bench.rounds()
        measures = [*bench.round_measures()]
        async for of_part in bench.alone():
            measures += of_part
    return {measure.name: measure for measure in measures}


@pytest.mark.parametrize("part", PARTS)
async def test_a_part_stores_everything_once(local_stack: LocalStack, part: str) -> None:
    measures = await measure(local_stack, [part])
    counts = {name: m.value for name, m in measures.items() if "lost" in name or "repeated" in name}
    assert counts
    assert set(counts.values()) == {0}
    # The database's time is counted in hundredths of a second, too coarse for so little work.
    assert all(
        m.value > 0 for name, m in measures.items() if name not in counts and "database CPU" not in name
    )
    explained = read("docs/performance.md")
    assert [name for name in measures if re.sub(r"^\d+ metrics: ", "", name) not in explained] == []
    assert await leftovers(local_stack) == []


async def leftovers(stack: LocalStack) -> list[str]:
    connection = await connect(stack.postgres.superuser_url, application="test")
    try:
        rows = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'bench%'")
        return [row["datname"] for row in rows]
    finally:
        await connection.close()
