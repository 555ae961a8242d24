"""``gaps``: what has not come, for people and for programs."""

from __future__ import annotations

import json

import asyncpg
import numpy as np
import pytest

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from storage.devices import register_devices
from storage.sequences import Numbers, enter_numbers
from tests.cli.command import Alatau

pytestmark = pytest.mark.servers


async def test_gaps_are_listed_and_nothing_missing_is_said(
    alatau: Alatau, connection: asyncpg.Connection, catalogue: Catalogue
) -> None:
    assert alatau("gaps").out == "No numbered reading is missing."
    specs = [DeviceSpec("lamp-1", "street_light", "gate"), DeviceSpec("lamp-2", "street_light", "gate")]
    number = await register_devices(connection, specs, catalogue)
    for first, last, oldest in ((1, 2, 1), (1203, 1203, 1203), (1205, 1205, 1)):
        columns = (np.array([value], np.int64) for value in (first, last, oldest))
        async with connection.transaction():
            await enter_numbers(connection, Numbers(np.array([number["lamp-1"]], np.int32), *columns))

    listed = alatau("gaps").out
    assert "device state first last missing since" in listed
    assert "lamp-1 abandoned 3 1202 1,200 " in listed
    assert "lamp-1 open 1204 1204 1 " in listed
    assert "abandoned" not in alatau("gaps", "--state", "open").out
    assert alatau("gaps", "--device", "lamp-2").out == "No numbered reading is missing."
    assert "There may be more" in alatau("gaps", "--limit", "1").out

    (gap,) = json.loads(alatau("gaps", "--json", "--state", "abandoned").out)
    since = await connection.fetchval("SELECT abandoned_at FROM alatau.sequence_gap")
    assert gap.pop("since") == since.isoformat()
    assert gap == {"device": "lamp-1", "state": "abandoned", "first": 3, "last": 1202, "missing": 1200}
    assert alatau("gaps", "--json", "--device", "lamp-2").out == "[]"


def test_a_device_that_there_is_none_of_is_said(alatau: Alatau) -> None:
    result = alatau("gaps", "--device", "lamp-99")
    assert result.code == 1
    assert "no device lamp-99 is registered" in result.errors
