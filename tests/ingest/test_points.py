"""Killed at each point of a message's way, a worker neither loses nor doubles a reading."""

from __future__ import annotations

import pathlib

import pytest

from tests.ingest.conftest import Rig
from tests.ingest.counting import counted, expect_clean, finish, published, victim

_DEATHS = 3


@pytest.mark.parametrize("point", ["received", "copying", "committed", "acknowledging", "receipting"])
async def test_worker_killed_at_a_point_loses_and_doubles_nothing(
    rig: Rig, tmp_path: pathlib.Path, point: str
) -> None:
    """Half of the devices state their time; one reading in a hundred is a dead letter."""
    load = counted(200_000, faulty_every=100, numbered=point == "receipting")
    ledger = tmp_path / "ledger"
    with victim(rig, tmp_path) as worker:
        worker.start()
        await worker.until_ready()
        assert await worker.terminate() == 0, "the broker keeps a session from here on"
        async with published(rig, load, ledger, rate=1500) as gateway:
            for count in range(1, _DEATHS + 1):
                worker.start(["--die", f"{point}:{count}"])
                assert await worker.until_dead() == -9, "it must have died of the point, not of an error"
            worker.start()
            await finish(gateway)
        await expect_clean(rig, load, ledger)
        assert await worker.terminate() == 0
