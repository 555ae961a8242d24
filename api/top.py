"""The devices, districts or kinds with the most or the least of a metric."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api
from api.contract import PREFIX
from api.formats import Format, wanted_format
from api.members import ANSWER, Count, End, Group, MetricName, Share, Start, Unit, Warnings
from api.problems import ProblemError, ProblemType
from api.questions import (
    MetricParameters,
    Question,
    measuring_members,
    read_answer,
    understand_question,
    warnings_of,
)
from api.responses import answer
from api.series_table import labels, series_columns
from api.tables import JSON_OR_TABLE, Batch, Table, in_memory, table_response
from sensors.times import format_timestamp, to_microseconds
from storage.expected import By
from storage.readings import Order
from storage.selection import Members
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

    @property
    def coverage(self) -> float | None:
        """The share of the expected readings that have a value, at most 1; None where none is expected."""
        return min(1.0, self.count / self.expected) if self.expected else None


@router.get("/top", response_model=TopAnswer)
async def get_top(request: Request, api: Api, query: Annotated[TopParameters, Query()]) -> Response:
    """Return the k devices, districts or kinds with the highest or lowest aggregate of a metric.

    Who has no value in the range has no place. Those of the same value are in the order of their ids.
    """
    format_ = wanted_format(request, query.format, JSON_OR_TABLE)
    asked = understand_question(query, api.catalogue, to_microseconds(api.clock()))
    group_by = GroupBy(query.by.value)
    async with api.database.connection() as connection:
        members = await measuring_members(connection, asked)
        if query.by is By.DEVICE:
            _refuse_too_many_devices(members, api.options.max_points)
        series = await read_answer(connection, asked, members, asked.agg, group_by, [asked.start, asked.end])
    places = _best(series, asked.agg, query.order)[: query.k]
    if format_ is not Format.JSON:
        return await table_response(_table(places, asked, group_by), format_)
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
        "coverage": place.coverage,
    }


def _table(places: Sequence[_Place], asked: Question, group_by: GroupBy) -> Table:
    """Return the places in their order, each as the one bucket of a series."""
    columns = series_columns(group_by, asked.names, asked.metric.unit)

    def batches() -> Iterator[Batch]:
        for place in places:
            yield [
                *labels(place.group, asked.metric.name, asked.metric.unit, 1),
                [asked.start],
                [asked.end],
                [place.count],
                [place.coverage],
                *([place.value] for _ in asked.names),
            ]

    return Table("top", columns, in_memory(batches()))
