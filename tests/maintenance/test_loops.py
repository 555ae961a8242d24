"""The loops on the real database: what maintenance does by itself."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from maintenance.compression import compression_loop
from maintenance.loops import Loop
from maintenance.metrics import MaintenanceMetrics
from maintenance.options import MaintenanceOptions
from maintenance.retention import retention_loop
from maintenance.service import Maintenance, build_loops
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from tests.cities import open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

TODAY = dt.datetime.now(dt.UTC).replace(hour=12, minute=0, second=0, microsecond=0)


async def run_once(options: MaintenanceOptions, metrics: MaintenanceMetrics, loop: Loop) -> None:
    """Run a loop as the service does, until its first round has succeeded."""
    stop = asyncio.Event()
    service = Maintenance(options, metrics, [loop])
    task = asyncio.create_task(service.run(stop), name="test.maintenance")
    try:
        async with asyncio.timeout(15):
            while not sample(metrics, "rounds_total", loop=loop.name):  # noqa: ASYNC110 - a counter tells nobody
                await asyncio.sleep(0.01)
    finally:
        stop.set()
        await task
    assert not sample(metrics, "failures_total", loop=loop.name)


def sample(metrics: MaintenanceMetrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"alatau_maintenance_{name}", labels) or 0


async def test_old_readings_go_by_themselves(database: Database, catalogue: Catalogue) -> None:
    old, new = TODAY - dt.timedelta(days=40), TODAY - dt.timedelta(days=3)
    async with open_city(database, catalogue, [DeviceSpec("meter-1", "noise", "gate")]) as city:
        await city.write("noise", [("meter-1", time, {"laeq": 50.0}) for time in (old, new)])
        await city.owner.execute(
            """
            INSERT INTO alatau.rollup_progress (kind, zone, logged_to, clean_to)
            VALUES ('noise', 'Asia/Almaty', $1, $1)
            """,
            TODAY,
        )
        options, metrics = MaintenanceOptions(database.maintenance_url), MaintenanceMetrics()
        await run_once(options, metrics, retention_loop(options, metrics))
        assert await city.owner.fetchval("SELECT min(time) FROM reading.noise") == new
    assert sample(metrics, "chunks_dropped_total", tier="raw") == 1
    assert sample(metrics, "bytes_dropped_total", tier="raw") > 0


async def test_an_edition_that_does_not_compress_is_left_alone(
    database: Database, catalogue: Catalogue
) -> None:
    async with open_city(database, catalogue, [DeviceSpec("air-1", "air_quality", "gate")]) as city:
        await city.write("air_quality", [("air-1", TODAY - dt.timedelta(days=10), {"pm2_5": 50.0})])
    options, metrics = MaintenanceOptions(database.maintenance_url), MaintenanceMetrics()
    await run_once(options, metrics, compression_loop(options, metrics))
    assert sample(metrics, "chunks_compressed_total") == 0


def test_every_loop_has_a_name_of_its_own() -> None:
    loops = build_loops(MaintenanceOptions("postgresql://nowhere"), MaintenanceMetrics())
    assert len({loop.name for loop in loops}) == len(loops) >= 2
