"""A small city behind a listening API, for the commands of an analyst."""

from __future__ import annotations

import contextlib
import datetime as dt
import pathlib
from collections.abc import AsyncIterator

import numpy as np

from api.app import create_app
from api.options import ApiOptions, ExportOptions
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from storage.api_keys import generate_key, store_key
from tests.api.uvicorns import listening
from tests.cities import open_city
from tests.conftest import Database

MINUTE = dt.timedelta(minutes=1)
DEVICES = (DeviceSpec("air-1", "air_quality", "gate"), DeviceSpec("air-2", "air_quality", "golden"))
READINGS = 120


@contextlib.asynccontextmanager
async def analysts_city(
    database: Database, catalogue: Catalogue, exports: pathlib.Path
) -> AsyncIterator[dict[str, str]]:
    """Lend the settings of an analyst; each device has a reading in each of the last 60 minutes."""
    async with open_city(database, catalogue, DEVICES) as city:
        key = generate_key()
        await store_key(city.owner, key, "test")
        now = dt.datetime.now(dt.UTC)
        await city.write(
            "air_quality",
            [
                (device.id, now - (n + 1) * MINUTE, {"pm2_5": 10.0 + n, "temperature": float(np.sin(n))})
                for device in DEVICES
                for n in range(60)
            ],
        )
        options = ApiOptions(
            database.api_url,
            pool_size=4,
            retry_seconds=0.02,
            exports=ExportOptions(exports, poll_seconds=0.02),
        )
        with listening(create_app(options)) as url:
            yield {"ALATAU_API_URL": url, "ALATAU_API_KEY": key}
