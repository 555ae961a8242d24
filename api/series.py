"""Series: aggregates of one or several metrics over buckets of the city's own calendar."""

from __future__ import annotations

import dataclasses
import zoneinfo
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.contract import PREFIX
from api.parameters import parse_range, parse_zone, require_devices, require_known, split_list
from api.problems import ProblemError, ProblemType, invalid_parameter
from api.responses import answer
from api.services import Api, Services
from sensors.catalogue import Catalogue
from sensors.kinds import Behaviour, Kind
from sensors.times import format_timestamp, from_microseconds, to_microseconds
from storage.buckets import Step, boundaries, count_at_most, finest_step, parse_step
from storage.kinds import Connection
from storage.selection import Members, Selection, count_members
from storage.series import Aggregate, GroupBy, Series, SeriesQuery, read_series

router = APIRouter(prefix=PREFIX, tags=["series"])

_AUTO_BUCKETS = 300
_MOST_METRICS = 20


class SeriesParameters(BaseModel):
    """What to aggregate. Lists are repeated or separated by commas."""

    metric: list[str] = Field(description="One or several, such as pm2_5.", examples=[["pm2_5"]])
    agg: list[str] = Field(
        ["avg"], description="avg, min, max, sum, count; each bucket has its count anyway."
    )
    start: str = Field("-PT24H", description="RFC 3339 with zone, `now`, or from now such as `-PT6H`.")
    end: str = Field("now", description="Not part of the range itself.")
    step: str = Field("auto", description="ISO 8601, such as PT5M, PT1H, P1D, P1W, P1M; or auto.")
    tz: str | None = Field(None, description="IANA zone of the buckets; the city's if left out.")
    group_by: GroupBy = GroupBy.NONE
    kind: list[str] = []
    district: list[str] = []
    device: list[str] = []
    simulated: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Request:
    """The parameters, understood; times in Unix µs."""

    metrics: tuple[str, ...]
    aggregates: frozenset[Aggregate]
    start: int
    end: int
    step: Step
    zone: zoneinfo.ZoneInfo
    group_by: GroupBy
    kinds: tuple[Kind, ...]
    selection: Selection


@router.get("/series")
async def get_series(api: Api, query: Annotated[SeriesParameters, Query()]) -> Response:
    """Aggregate metrics over buckets of time, one series for each group.

    A metric that several kinds measure is taken of all. A bucket without a value has count 0 and null.
    """
    asked = _understand(query, api.catalogue, to_microseconds(api.clock()))
    _refuse_too_many_buckets(asked, api)
    edges = boundaries(asked.start, asked.end, asked.step, asked.zone)
    async with api.database.connection() as connection:
        await require_devices(connection, asked.selection.devices)
        members = await count_members(connection, asked.selection)
        _refuse_too_many_points(asked, len(edges) - 1, members, api)
        series = await _read(connection, asked, edges, members)
    return answer(
        {
            "start": format_timestamp(asked.start),
            "end": format_timestamp(asked.end),
            "step": asked.step.text,
            "tz": asked.zone.key,
            "source": "raw",
            "groups": _shape(series, edges, asked, api.catalogue),
            "warnings": _warnings(asked, edges, members, series, api.catalogue),
        }
    )


def _understand(query: SeriesParameters, catalogue: Catalogue, now: int) -> _Request:
    metrics = split_list(query.metric)
    selection = Selection(
        split_list(query.kind), split_list(query.district), split_list(query.device), query.simulated
    )
    if not 1 <= len(metrics) <= _MOST_METRICS:
        raise invalid_parameter(
            "metric", f"name 1 to {_MOST_METRICS} metrics; GET /api/v1/metrics lists them"
        )
    require_known("metric", metrics, catalogue.metric_of)
    require_known("kind", selection.kinds, catalogue.kind_of)
    require_known("district", selection.districts, catalogue.district_of)
    aggregates = split_list(query.agg)
    require_known("agg", aggregates, [one.value for one in Aggregate])
    start, end = parse_range(query.start, query.end, now)
    return _Request(
        metrics=metrics,
        aggregates=frozenset(map(Aggregate, aggregates)),
        start=start,
        end=end,
        step=_step(query.step, start, end),
        zone=parse_zone("tz", query.tz or catalogue.city.timezone),
        group_by=query.group_by,
        kinds=_kinds(metrics, selection, catalogue),
        selection=selection,
    )


def _step(text: str, start: int, end: int) -> Step:
    if text == "auto":
        return finest_step(start, end, _AUTO_BUCKETS)
    try:
        return parse_step(text)
    except ValueError as error:
        raise invalid_parameter("step", str(error)) from None


def _kinds(metrics: Sequence[str], selection: Selection, catalogue: Catalogue) -> tuple[Kind, ...]:
    for metric in metrics:
        measuring = [kind.name for kind in catalogue.kinds_measuring(metric)]
        if selection.kinds and not set(measuring) & set(selection.kinds):
            raise invalid_parameter(
                "kind",
                f"{', '.join(selection.kinds)} does not measure {metric}; ask for {', '.join(measuring)}",
                valid=measuring,
            )
    return tuple(
        kind
        for kind in catalogue.kinds
        if (not selection.kinds or kind.name in selection.kinds) and set(metrics) & set(kind.columns)
    )


def _refuse_too_many_buckets(asked: _Request, api: Services) -> None:
    limit = api.options.max_buckets
    count = count_at_most(asked.start, asked.end, asked.step)
    # The estimate counts a bucket at either end that may not be there.
    if count - 2 > limit:
        better = finest_step(asked.start, asked.end, limit - 2)
        raise ProblemError(
            ProblemType.TOO_LARGE,
            f"step={asked.step.text} makes about {count} buckets a series, and {limit} are allowed; "
            f"ask for step={better.text}, or a shorter range",
            parameter="step",
            nearest=better.text,
        )


def _refuse_too_many_points(asked: _Request, buckets: int, members: Sequence[Members], api: Services) -> None:
    measuring = [one for one in members if one.kind in {kind.name for kind in asked.kinds}]
    groups = {
        GroupBy.NONE: 1,
        GroupBy.KIND: len({one.kind for one in measuring}),
        GroupBy.DISTRICT: len({one.district for one in measuring}),
        GroupBy.DEVICE: sum(one.devices for one in measuring),
    }[asked.group_by]
    limit = api.options.max_points
    series = groups * len(asked.metrics)
    if series * buckets <= limit:
        return
    if series > limit // 2:
        advice = "ask for group_by=district, or filter by kind, district or device"
    else:
        better = finest_step(asked.start, asked.end, limit // series - 2).text
        advice = f"ask for step={better}, a shorter range, fewer devices or fewer metrics"
    raise ProblemError(
        ProblemType.TOO_LARGE,
        f"{series} series of {buckets} buckets are {series * buckets} points, and {limit} are allowed; "
        f"{advice}",
        parameter="step",
    )


async def _read(
    connection: Connection, asked: _Request, edges: Sequence[int], members: Sequence[Members]
) -> list[Series]:
    present = {one.kind for one in members}
    kinds = tuple(kind for kind in asked.kinds if kind.name in present)
    if not kinds:
        return []
    return await read_series(
        connection,
        SeriesQuery(
            metrics=asked.metrics,
            aggregates=asked.aggregates,
            start=asked.start,
            end=asked.end,
            boundaries=edges,
            group_by=asked.group_by,
            kinds=kinds,
            selection=asked.selection,
        ),
    )


def _shape(
    series: Sequence[Series], edges: Sequence[int], asked: _Request, catalogue: Catalogue
) -> list[dict[str, Any]]:
    # Every series has the same buckets: they are written once and repeated as they are.
    labels = [_local(edge, asked.zone) for edge in edges]
    starts, ends = orjson.Fragment(orjson.dumps(labels[:-1])), orjson.Fragment(orjson.dumps(labels[1:]))
    return [
        {
            "group": {} if one.group is None else {asked.group_by.value: one.group},
            "metric": one.metric,
            "unit": catalogue.metric_of[one.metric].unit,
            "start": starts,
            "end": ends,
            "count": one.count,
            **{aggregate.value: values for aggregate, values in one.values.items()},
        }
        for one in series
    ]


def _local(microseconds: int, zone: zoneinfo.ZoneInfo) -> str:
    return from_microseconds(microseconds).astimezone(zone).isoformat().replace("+00:00", "Z")


def _warnings(
    asked: _Request,
    edges: Sequence[int],
    members: Sequence[Members],
    series: Sequence[Series],
    catalogue: Catalogue,
) -> list[str]:
    warnings = []
    kinds = {kind.name for kind in asked.kinds}
    if asked.selection.simulated is None and any(one.simulated for one in members if one.kind in kinds):
        warnings.append("includes readings of simulated devices; simulated=false leaves them out")
    meaningless = sorted(asked.aggregates & {Aggregate.AVG, Aggregate.SUM})
    warnings += [
        f"{metric} is a counter, which only rises: {' and '.join(meaningless)} of its readings mean nothing; "
        "ask for agg=min,max and group_by=device, max less min is what it rose by within the bucket"
        for metric in asked.metrics
        if meaningless and catalogue.metric_of[metric].behaviour is Behaviour.COUNTER
    ]
    if edges[0] < asked.start:
        warnings.append(
            f"the first bucket is partial: it begins at {_local(edges[0], asked.zone)}, the range at "
            f"{_local(asked.start, asked.zone)}"
        )
    if edges[-1] > asked.end:
        warnings.append(
            f"the last bucket is partial: it ends at {_local(edges[-1], asked.zone)}, the range at "
            f"{_local(asked.end, asked.zone)}"
        )
    if not series:
        warnings.append("no reading in the range has a value")
    return warnings
