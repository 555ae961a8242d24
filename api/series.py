"""Series: aggregates of one or several metrics over buckets of the city's own calendar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NotRequired

from fastapi import APIRouter, Query, Request
from pydantic import Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api
from api.contract import PREFIX
from api.formats import Format, wanted_format
from api.members import ANSWER, End, Start, Warnings, Zone
from api.parameters import require_devices
from api.problems import ProblemError, ProblemType, invalid_parameter
from api.questions import count_groups, measuring
from api.responses import answer
from api.series_request import SeriesParameters, SeriesRequest, understand
from api.series_shape import SeriesGroup, as_groups, shape_all, warnings_of
from api.series_table import series_table
from api.services import Services
from api.tables import JSON_OR_TABLE, table_response
from sensors.sketch import RELATIVE_ERROR
from sensors.times import format_timestamp, to_microseconds
from storage.buckets import count_at_most, finest_step
from storage.kinds import Connection
from storage.selection import Members, count_members
from storage.series import answer_series
from storage.series_query import Answer

router = APIRouter(prefix=PREFIX, tags=["series"])


@with_config(ANSWER)
class SpanAnswer(TypedDict):
    """The series of one span."""

    start: Start
    end: End
    source: Annotated[
        tuple[str, ...],
        Field(
            description="What was read: `raw`, and the rollups `5m`, `1h` and `1d`.", examples=[["1h", "raw"]]
        ),
    ]
    groups: list[SeriesGroup]
    warnings: Warnings


@with_config(ANSWER)
class SeriesAnswer(SpanAnswer):
    """Series, one of each group and metric."""

    step: Annotated[str, Field(description="Of the buckets, ISO 8601.", examples=["PT1H"])]
    tz: Annotated[Zone, Field(description="IANA time zone of the buckets.")]
    percentile_error: NotRequired[
        Annotated[float, Field(description="Of percentiles: relative, at most. 0.01 is 1 %.")]
    ]
    compare: NotRequired[Annotated[SpanAnswer, Field(description="The same of the earlier span.")]]


@router.get("/series", response_model=SeriesAnswer)
async def get_series(request: Request, api: Api, query: Annotated[SeriesParameters, Query()]) -> Response:
    """Aggregate metrics over buckets of time, one series for each group.

    A metric that several kinds measure is taken of all. A bucket without a value has count 0 and null, unless
    `fill` says otherwise; `coverage` is the share of the expected readings that came.
    """
    catalogue, format_ = api.catalogue, wanted_format(request, query.format, JSON_OR_TABLE)
    if query.compare is not None and format_ is not Format.JSON:
        raise invalid_parameter(
            "compare", f"{format_.value} has no room for a second span; ask twice, or for format=json"
        )
    asked = understand(query, catalogue, to_microseconds(api.clock()))
    _refuse_too_many_buckets(asked, api)
    edges = asked.edges()
    async with api.database.connection() as connection:
        await require_devices(connection, asked.selection.devices)
        members = await count_members(connection, asked.selection, asked.start)
        _refuse_too_many_points(asked, len(edges) - 1, members, api)
        found = await _read(connection, asked, edges, members)
        shaped = list(shape_all(found.series, edges, asked, catalogue))
        if format_ is not Format.JSON:
            return await table_response(series_table(shaped, edges, asked), format_)
        content: SeriesAnswer = {
            "start": format_timestamp(asked.start),
            "end": format_timestamp(asked.end),
            "step": asked.step.text,
            "tz": asked.zone.key,
            "source": found.sources,
            "groups": as_groups(shaped, edges, asked),
            "warnings": warnings_of(asked, edges, members, found, catalogue),
        }
        if asked.percentiles:
            content["percentile_error"] = 0.0 if asked.exact else RELATIVE_ERROR
        if asked.compare is not None:
            content["compare"] = await _compare(connection, asked, edges, api)
    return answer(content)


async def _compare(
    connection: Connection,
    asked: SeriesRequest,
    edges: Sequence[int],
    api: Services,
) -> SpanAnswer:
    """Return the same of the span that is asked to be compared with, bucket by bucket."""
    earlier, moved = asked.earlier(edges)
    members = await count_members(connection, earlier.selection, earlier.start)
    found = await _read(connection, earlier, moved, members)
    return {
        "start": format_timestamp(earlier.start),
        "end": format_timestamp(earlier.end),
        "source": found.sources,
        "groups": as_groups(list(shape_all(found.series, moved, earlier, api.catalogue)), moved, earlier),
        "warnings": warnings_of(earlier, moved, members, found, api.catalogue),
    }


async def _read(
    connection: Connection, asked: SeriesRequest, edges: Sequence[int], members: Sequence[Members]
) -> Answer:
    present = {one.kind for one in members}
    kinds = tuple(kind for kind in asked.kinds if kind.name in present)
    if not kinds:
        return Answer([], (), ())
    return await answer_series(connection, asked.query(edges, kinds), members)


def _refuse_too_many_buckets(asked: SeriesRequest, api: Services) -> None:
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


def _refuse_too_many_points(
    asked: SeriesRequest, buckets: int, members: Sequence[Members], api: Services
) -> None:
    limit = api.options.max_points
    series = count_groups(measuring(members, asked.kinds), asked.group_by) * len(asked.metrics)
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
