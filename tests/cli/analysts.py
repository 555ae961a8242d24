"""A small city behind a listening API, for the commands of an analyst."""

from __future__ import annotations

import contextlib
import datetime as dt
import pathlib
import threading
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.options import ApiOptions, ExportOptions
from api.serving import serving
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from stack.ports import free_port
from storage.api_keys import generate_key, store_key
from tests.cities import open_city
from tests.conftest import Database

MINUTE = dt.timedelta(minutes=1)
DEVICES = (
    DeviceSpec("air-1", "air_quality", "gate", (77.0, 43.48)),
    DeviceSpec("air-2", "air_quality", "golden", metadata={"pole": 7.0}),
)
READINGS = 120


@contextlib.contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """Serve an application in a thread of its own, because a command's test blocks the loop; yield its URL."""
    port = free_port()
    server = uvicorn.Server(serving(app, port=port))
    thread = threading.Thread(target=server.run, name="test.uvicorn")
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "uvicorn ended"
            assert time.monotonic() < deadline, "uvicorn did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


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
