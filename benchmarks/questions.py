"""What is asked of a month: through HTTP, and the same of storage."""

from __future__ import annotations

import dataclasses
import zoneinfo
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from api.series_request import SeriesParameters, SeriesRequest, understand
from benchmarks.month import KIND, Month
from sensors.catalogue import Catalogue, build_catalogue, builtin_file
from sensors.times import DAY, format_timestamp
from storage.buckets import boundaries, parse_step
from storage.kinds import Connection
from storage.latest_values import list_latest, now_changing
from storage.readings import Order, read_readings
from storage.selection import Selection, count_members, select_devices
from storage.series import answer_series
from storage.series_query import Answer

# Also asked of the readings themselves.
BY_HOUR = "30 days by hour, four districts"
Storage: TypeAlias = Callable[[Connection], Awaitable[object]]
_HOUR = 3_600_000_000
_POLYGON = "76.90,43.45 77.05,43.45 77.10,43.62 76.95,43.66"


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One question, and within how many ms 95 of 100 answers should be there; ``storage`` asks the same."""

    title: str
    path: str
    parameters: Mapping[str, str]
    storage: Storage
    target: float = 0


def questions(month: Month) -> list[Question]:
    """Return what is asked of a month."""
    last = {"end": format_timestamp(month.end)}
    device, day = month.device(month.devices // 2), month.end - DAY
    return [
        Question(
            "latest of all devices",
            "latest",
            {"limit": str(month.devices)},
            lambda connection: _latest(connection, month.devices),
            30,
        ),
        _series(BY_HOUR, _by_hour(month), 50),
        _series(
            "p95 of 30 days by day, four districts",
            {"metric": "pm2_5", "agg": "p95", "group_by": "district", "step": "P1D", **_whole_days(month)},
            80,
        ),
        Question(
            "24 h of one device",
            "readings",
            {"device": device, "start": format_timestamp(day), "limit": "1440", **last},
            lambda connection: _readings(connection, device, day, month.end),
            15,
        ),
        _series(
            "last hour's average inside a polygon",
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
        _series(metric, {"metric": metric, "group_by": group, "step": step, "agg": "avg,max", **day})
        for metric in metrics
        for group, step in (("district", "PT15M"), ("none", "PT5M"))
    ]
    return [*every, *questions(month)[1:3]]


async def from_readings(connection: Connection, month: Month) -> Answer:
    """Return the answer of BY_HOUR without rollups, which ``exact`` leaves out."""
    return await _answer(connection, dataclasses.replace(_understand(_by_hour(month)), exact=True))


def _by_hour(month: Month) -> dict[str, str]:
    return {"metric": "pm2_5", "group_by": "district", "step": "PT1H", **_whole_days(month)}


def _whole_days(month: Month) -> dict[str, str]:
    # Of the city, so that daily rollups may answer.
    days = boundaries(month.start, month.end, parse_step("P1D"), zoneinfo.ZoneInfo("Asia/Almaty"))
    return {"start": format_timestamp(days[1]), "end": format_timestamp(days[-2])}


def _series(title: str, parameters: Mapping[str, str], target: float = 0) -> Question:
    asked = _understand(parameters)
    return Question(title, "series", parameters, lambda connection: _answer(connection, asked), target)


def _understand(parameters: Mapping[str, str]) -> SeriesRequest:
    given: dict[str, Any] = {**parameters, "metric": [parameters["metric"]]}
    given["agg"] = [parameters.get("agg", "avg")]
    return understand(SeriesParameters(**given), _catalogue(), 0)


def _catalogue() -> Catalogue:
    return build_catalogue(builtin_file("alatau"), "alatau.toml")


async def _answer(connection: Connection, asked: SeriesRequest) -> Answer:
    members = await count_members(connection, asked.selection, asked.start)
    kinds = tuple(kind for kind in asked.kinds if kind.name == KIND)
    return await answer_series(connection, asked.query(asked.edges(), kinds), members)


async def _latest(connection: Connection, devices: int) -> object:
    await now_changing(connection)
    return await list_latest(connection, _catalogue(), Selection(), limit=devices)


async def _readings(connection: Connection, device: str, start: int, end: int) -> object:
    chosen = await select_devices(connection, Selection(devices=(device,)))
    kind = _catalogue().kind_of[KIND]
    number = int(chosen.device_id[0])
    return await read_readings(connection, kind, number, start, end, order=Order.ASC, limit=1440)
