"""The city that scopes are held against: of everything one for each device, and keys that see a part of it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import pathlib
from collections.abc import AsyncIterator

import httpx2
import numpy as np
from fastapi import FastAPI

from api.app import ApiOptions, create_app
from api.options import ExportOptions
from sensors.checks import Reason
from sensors.statuses import Said
from sensors.times import to_microseconds
from storage.alert_rules import add_window
from storage.api_keys import Role, Scope, generate_key, store_key
from storage.claims import add_batch
from storage.corrections import Correction, Rescale, correct
from storage.dead_letters import DeadLetter, insert_letters
from storage.device_status import Heard, record_statuses
from storage.devices import Credential
from storage.refresh import move_bound, refresh
from storage.sequences import Numbers, enter_numbers
from storage.wire_sources import Seen, claim_source, note_seen
from tests.alerts.making import of_device, passed
from tests.api.answers import NOW
from tests.api.conftest import DEVICES, READER, serve
from tests.api.test_devices import Accounts
from tests.cities import City

SCOPES = {"gate": Scope(districts=("gate",)), "noise": Scope(kinds=("noise",))}
METRIC = {"air_quality": "pm2_5", "noise": "laeq", "traffic_flow": "speed", "weather": "temperature"}


@dataclasses.dataclass(frozen=True, slots=True)
class Filled:
    """The city with one of everything for each of two devices, and the keys' answers."""

    city: City
    application: FastAPI
    client: httpx2.AsyncClient
    keys: dict[str, str]
    letters: dict[str, int]

    async def ask(self, who: str, path: str, **parameters: str) -> httpx2.Response:
        headers = {"X-API-Key": self.keys[who]}
        return await self.client.get(f"/api/v1/{path}", params=parameters, headers=headers)


@contextlib.asynccontextmanager
async def fill(city: City, options: ApiOptions, exports: pathlib.Path) -> AsyncIterator[Filled]:
    """Fill the city of ``tests.api.conftest``, and serve it."""
    keys = {"all": generate_key(), **{name: generate_key() for name in SCOPES}}
    await store_key(city.owner, keys["all"], "all")
    for name, scope in SCOPES.items():
        await store_key(city.owner, keys[name], name, role=Role.OPERATOR, scope=scope)
    for number, device in enumerate(DEVICES):
        metric = METRIC[device.kind]
        rows = [
            (device.id, NOW - dt.timedelta(minutes=m), {metric: 10.0 * number + m % 7}) for m in range(1, 170)
        ]
        await city.write(device.kind, rows)
    await move_bound(city.owner, list(METRIC), "Asia/Almaty", to_microseconds(NOW - dt.timedelta(hours=1)))
    for kind in METRIC:
        while not (await refresh(city.owner, city.catalogue.kind_of[kind])).is_done:
            pass
    letters = await _one_of_each(city)
    jobs = ExportOptions(exports, poll_seconds=0.05)
    application = create_app(
        dataclasses.replace(options, exports=jobs), accounts=Accounts(), reader=READER, clock=lambda: NOW
    )
    async with serve(application, None) as client:
        yield Filled(city, application, client, keys, letters)


async def _one_of_each(city: City) -> dict[str, int]:
    """Give each device a status, a refused message, a gap, a correction, a batch; return the messages' numbers."""
    now = to_microseconds(NOW)
    await record_statuses(city.ingest, [Heard(device.id, Said.ONLINE, now) for device in DEVICES])
    for device in DEVICES:
        number = city.number[device.id]
        topic = f"alatau/v1/{device.id}/telemetry"
        await insert_letters(
            city.ingest, [DeadLetter(now, topic, b"{}", Reason.NO_METRICS, "empty", device_id=number)]
        )
        async with city.ingest.transaction():
            await enter_numbers(
                city.ingest,
                Numbers(np.array([number], np.int32), *(np.array([n], np.int64) for n in (3, 3, 1))),
            )
        minute = now - 2 * 60_000_000
        change = Rescale(METRIC[device.kind], offset=1.0)
        await correct(
            city.owner,
            city.catalogue.kind_of[device.kind],
            Correction(device.id, minute, minute + 1, change, who="test", why="calibration"),
        )
        place, token = (device.kind, device.district), Credential(b"salt", b"hash", 101)
        await add_batch(city.owner, f"for-{device.id}", place, 1, dt.timedelta(days=1), token, "test")
        window = (NOW, NOW + dt.timedelta(hours=1))
        await add_window(
            city.owner, *window, device=device.id, district=None, kind=None, reason="test", created_by="test"
        )
        async with city.owner.transaction():
            await claim_source(city.owner, "chirpstack", f"eui-of-{device.id}", device.id, None)
    seen = Seen("chirpstack", "eui-of-nobody", now, 1, {"of-nobody": (1.0, None)}, ["no/device"])
    async with city.owner.transaction():
        await note_seen(city.owner, [seen])
    found = [of_device(d.id, d.kind, d.district, METRIC[d.kind]) for d in DEVICES]
    await passed(city.owner, found)
    await insert_letters(city.ingest, [DeadLetter(now, "no/device", b"{}", Reason.NO_METRICS, "empty")])
    rows = await city.owner.fetch(
        "SELECT id, dead_letter_id FROM alatau.dead_letter JOIN alatau.device USING (device_id)"
    )
    return {row["id"]: row["dead_letter_id"] for row in rows}
