"""The devices, districts or kinds with the most or the least of a metric."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.contract import PREFIX
from api.members import ANSWER, Count, End, Group, MetricName, Share, Start, Unit, Warnings
from api.parameters import require_devices
from api.problems import ProblemError, ProblemType
from api.questions import (
    MetricParameters,
    measuring_members,
    read_answer,
    understand_question,
    warnings_of,
)
from api.responses import answer
from api.services import Api
from sensors.times import format_timestamp, to_microseconds
from storage.expected import By
from storage.readings import Order
from storage.selection import Members, count_members
from storage.series_query import Aggregate, GroupBy, Series

router = APIRouter(prefix=PREFIX, tags=["series"])


class TopParameters(MetricParameters):
    """What to put in order, and how many of it."""

    by: By = Field(By.DEVICE, description="What each place is given to.")
    order: Order = Field(Order.DESC, description="`desc`: the most first; `asc`: the least.")
    k: int = Field(10, ge=1, le=100)


@with_config(ANSWER)
class TopPlace(TypedDict):
    """A group and its value."""

    group: Group
    value: Annotated[float, Field(description="In the unit.", examples=[12.5])]
    count: Annotated[Count, Field(description="Values that it is of.", examples=[1440])]
    coverage: Annotated[
        Share | None, Field(description="Share of the expected readings that came; null of none.")
    ]


@with_config(ANSWER)
class TopAnswer(TypedDict):
    """The places, in the order asked for."""

    start: Start
    end: End
    metric: MetricName
    unit: Annotated[Unit, Field(description="UCUM code of the metric's values.")]
    agg: Aggregate
    order: Annotated[Order, Field(examples=["desc"])]
    top: list[TopPlace]
    warnings: Warnings


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """One group with its value; how many readings it is of, and how many were expected."""

    group: str
    value: float
    count: int
    expected: float


@router.get("/top", response_model=TopAnswer)
async def get_top(api: Api, query: Annotated[TopParameters, Query()]) -> Response:
    """Return the k devices, districts or kinds with the highest or lowest aggregate of a metric.

    Who has no value in the range has no place. Those of the same value are in the order of their ids.
    """
    asked = understand_question(query, api.catalogue, to_microseconds(api.clock()))
    async with api.database.connection() as connection:
        await require_devices(connection, asked.selection.devices)
        members = measuring_members(
            await count_members(connection, asked.selection, asked.start), asked.kinds
        )
        if query.by is By.DEVICE:
            _refuse_too_many_devices(members, api.options.max_points)
        series = await read_answer(
            connection, asked, members, asked.agg, GroupBy(query.by.value), [asked.start, asked.end]
        )
        places = _best(series, asked.agg, query.order)[: query.k]
    content: TopAnswer = {
        "start": format_timestamp(asked.start),
        "end": format_timestamp(asked.end),
        "metric": asked.metric.name,
        "unit": asked.metric.unit,
        "agg": asked.agg,
        "order": query.order,
        "top": [_shape(place, query.by) for place in places],
        "warnings": warnings_of(asked, members, series),
    }
    return answer(content)


def _refuse_too_many_devices(members: Sequence[Members], limit: int) -> None:
    devices = sum(one.devices for one in members)
    if devices > limit:
        raise ProblemError(
            ProblemType.TOO_LARGE,
            f"{devices} devices are selected, and {limit} are allowed; ask for by=district, or filter by kind, "
            "district or place",
            parameter="by",
        )


def _best(series: Sequence[Series], agg: Aggregate, order: Order) -> list[_Place]:
    places = []
    for one in series:
        count = int(one.count[0])
        value = float(one.values[agg][0]) if agg in one.values else float(count)
        if count and one.group is not None and not math.isnan(value):
            places.append(_Place(one.group, value, count, float(one.expected[0])))
    sign = -1 if order is Order.DESC else 1
    return sorted(places, key=lambda place: (sign * place.value, place.group))


def _shape(place: _Place, by: By) -> TopPlace:
    return {
        "group": {by.value: place.group},
        "value": place.value,
        "count": place.count,
        "coverage": min(1.0, place.count / place.expected) if place.expected else None,
    }
