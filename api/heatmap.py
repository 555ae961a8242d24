"""The week of a metric: its aggregate by hour of the day and day of the week, on the clock of a zone."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, NotRequired, TypeVar, cast

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request
from pydantic import Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api
from api.contract import PREFIX
from api.formats import Format, wanted_format
from api.members import ANSWER, End, Group, MetricName, Start, Unit, Warnings, Zone, described_as
from api.parameters import parse_zone
from api.problems import ProblemError, ProblemType, invalid_parameter
from api.questions import (
    MetricParameters,
    Question,
    count_groups,
    measuring_members,
    read_answer,
    understand_question,
    warnings_of,
)
from api.responses import answer
from api.series_table import label_columns, labels, unit_of
from api.services import Services
from api.tables import JSON_OR_TABLE, Batch, Column, Labels, Table, Type, in_memory, table_response
from sensors.times import format_timestamp, from_microseconds, to_microseconds
from storage.buckets import boundaries, count_at_most, parse_step
from storage.selection import Members
from storage.series_query import Aggregate, GroupBy, Series

router = APIRouter(prefix=PREFIX, tags=["series"])

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_HOUR = parse_step("PT1H")
_FOLDED = (Aggregate.AVG, Aggregate.MIN, Aggregate.MAX, Aggregate.SUM, Aggregate.COUNT)


class HeatmapParameters(MetricParameters):
    """What to aggregate, and by whose clock."""

    start: str = Field("-P28D", description="RFC 3339 with zone, `now`, or from now such as `-P28D`.")
    agg: Aggregate = Field(Aggregate.AVG, description="avg, min, max, sum or count.")
    tz: str | None = Field(None, description="IANA zone of hours and days; the city's if left out.")
    group_by: GroupBy = GroupBy.NONE


_Number = TypeVar("_Number")
_Hours = Annotated[list[_Number], Field(min_length=24, max_length=24)]
_Week = Annotated[list[_Hours[_Number]], Field(min_length=7, max_length=7)]
_Numbers = Annotated[npt.NDArray[np.float64], described_as(_Week[float | None])]


class _Folded(TypedDict):
    count: Annotated[
        npt.NDArray[np.int64],
        described_as(_Week[int]),
        Field(description="Values, 7 lists of 24.", examples=[[[240] * 24] * 7]),
    ]
    avg: NotRequired[
        Annotated[_Numbers, Field(description="Mean, in the unit.", examples=[[[12.5] * 24] * 7])]
    ]
    min: NotRequired[Annotated[_Numbers, Field(description="Lowest value, in the unit.")]]
    max: NotRequired[Annotated[_Numbers, Field(description="Highest value, in the unit.")]]
    sum: NotRequired[Annotated[_Numbers, Field(description="In the unit.")]]


@with_config(ANSWER)
class HeatmapGroup(_Folded):
    """The week of a group, from Monday, by hours from midnight; the aggregate that was asked for."""

    group: Group


@with_config(ANSWER)
class HeatmapAnswer(TypedDict):
    """The week of a metric."""

    start: Start
    end: End
    tz: Annotated[Zone, Field(description="IANA time zone of hours and days.")]
    metric: MetricName
    unit: Unit
    agg: Aggregate
    days: Annotated[tuple[str, ...], Field(description="Of the 7 lists.", examples=[DAYS])]
    groups: list[HeatmapGroup]
    warnings: Warnings


@router.get("/heatmap", response_model=HeatmapAnswer)
async def get_heatmap(request: Request, api: Api, query: Annotated[HeatmapParameters, Query()]) -> Response:
    """Aggregate a metric by the hour of the day and the day of the week: 7 rows from Monday of 24 hours.

    An hour that a clock shows twice counts twice, one that it skips does not. Without a value: 0 and null.
    """
    format_ = wanted_format(request, query.format, JSON_OR_TABLE)
    asked = understand_question(query, api.catalogue, to_microseconds(api.clock()))
    if asked.agg not in _FOLDED:
        valid = [one.value for one in _FOLDED]
        raise invalid_parameter("agg", f"{asked.agg.value} of hours is not that of a week", valid=valid)
    zone = parse_zone("tz", query.tz or api.catalogue.city.timezone)
    _refuse_too_many_hours(asked, api.options.max_buckets)
    edges = boundaries(asked.start, asked.end, _HOUR, zone)
    async with api.database.connection() as connection:
        members = await measuring_members(connection, asked)
        _refuse_too_many_points(members, query.group_by, len(edges) - 1, api)
        series = await read_answer(connection, asked, members, _state(asked.agg), query.group_by, edges)
    cells = _cells(edges[:-1], zone)
    weeks = [(one.group, _fold(one, cells, asked.agg)) for one in series]
    if format_ is not Format.JSON:
        return await table_response(_table(weeks, asked, query.group_by), format_)
    content: HeatmapAnswer = {
        "start": format_timestamp(asked.start),
        "end": format_timestamp(asked.end),
        "tz": zone.key,
        "metric": asked.metric.name,
        "unit": asked.metric.unit,
        "agg": asked.agg,
        "days": DAYS,
        "groups": [
            {"group": {} if group is None else {query.group_by.value: group}, **week} for group, week in weeks
        ],
        "warnings": warnings_of(asked, members, series),
    }
    return answer(content)


def _refuse_too_many_hours(asked: Question, limit: int) -> None:
    hours = count_at_most(asked.start, asked.end, _HOUR) - 2
    if hours > limit:
        raise ProblemError(
            ProblemType.TOO_LARGE,
            f"the range has {hours} hours, and {limit} are allowed; ask for a year at most",
            parameter="start",
        )


def _refuse_too_many_points(members: Sequence[Members], group_by: GroupBy, hours: int, api: Services) -> None:
    groups = count_groups(members, group_by)
    limit = api.options.max_points
    if groups * hours > limit:
        raise ProblemError(
            ProblemType.TOO_LARGE,
            f"{groups} groups of {hours} hours are {groups * hours} points, and {limit} are allowed; ask for "
            "group_by=district, a shorter range or fewer devices",
            parameter="group_by",
        )


def _cells(starts: Sequence[int], zone: zoneinfo.ZoneInfo) -> npt.NDArray[np.intp]:
    """Return of each hour (Unix µs) which of the 168 of the week it is on the zone's clock."""
    local = [from_microseconds(start).astimezone(zone) for start in starts]
    return np.array([moment.weekday() * 24 + moment.hour for moment in local], np.intp)


_FOLD: dict[Aggregate, tuple[Callable[..., Any], float]] = {
    Aggregate.SUM: (np.add.at, 0.0),
    Aggregate.MIN: (np.minimum.at, np.inf),
    Aggregate.MAX: (np.maximum.at, -np.inf),
}


def _state(agg: Aggregate) -> Aggregate:
    """Return what is asked of the hours: averages of them can't be folded, sums can."""
    return Aggregate.SUM if agg is Aggregate.AVG else agg


def _fold(series: Series, cells: npt.NDArray[np.intp], agg: Aggregate) -> _Folded:
    """Return counts and values of shape (7, 24), NaN where there is no value."""
    count = np.zeros(len(DAYS) * 24, np.int64)
    np.add.at(count, cells, series.count)
    shape = (len(DAYS), 24)
    if agg is Aggregate.COUNT:
        return {"count": count.reshape(shape)}
    accumulate, empty = _FOLD[_state(agg)]
    has = series.count > 0
    values = np.full(len(count), empty)
    accumulate(values, cells[has], series.values[_state(agg)][has])
    if agg is Aggregate.AVG:
        values = values / np.maximum(count, 1)
    values[count == 0] = np.nan
    return cast("_Folded", {"count": count.reshape(shape), agg.value: values.reshape(shape)})


def _table(weeks: Sequence[tuple[str | None, _Folded]], asked: Question, group_by: GroupBy) -> Table:
    """Return the weeks as a table: a row for each hour of each day of each group."""
    columns = (
        *label_columns(group_by),
        Column("day", Type.LABEL),
        Column("hour", Type.INTEGER, "h"),
        Column("count", Type.INTEGER),
        *(Column(name, Type.NUMBER, unit_of(name, asked.metric.unit)) for name in asked.names),
    )
    day, hour = np.divmod(np.arange(len(DAYS) * 24), 24)

    def batches() -> Iterator[Batch]:
        for group, week in weeks:
            arrays = cast("dict[str, npt.NDArray[Any]]", week)
            yield [
                *labels(group, asked.metric.name, asked.metric.unit, len(day)),
                Labels(day.astype(np.int32), DAYS),
                hour,
                *(values.ravel() for values in arrays.values()),
            ]

    return Table("heatmap", columns, in_memory(batches()))
