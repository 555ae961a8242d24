"""The quality of devices' readings: completeness, lag, clocks, refusals, gaps, frozen values."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api
from api.contract import PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.formats import Format, wanted_format
from api.members import ANSWER, Count, DeviceId, End, Group, MetricName, Next, Seconds, Share, Start
from api.parameters import EARLIEST, LATEST, parse_range, refuse_paging, require_devices
from api.problems import ProblemError, ProblemType, invalid_parameter
from api.quality_table import quality_table
from api.questions import RangeParameters
from api.responses import answer, next_page
from api.selection import understand_selection
from api.tables import JSON_OR_TABLE, table_response
from sensors.times import DAY, SECOND, format_timestamp, from_microseconds, to_microseconds
from storage.expected import By, expected_of
from storage.quality import Frozen, Quality, read_quality
from storage.selection import Devices, select_devices

router = APIRouter(prefix=PREFIX, tags=["quality"])

_SCOPE = "quality"
_LONGEST_DAYS = 31
_HOUR = 3600 * SECOND
# Of a group's frozen sensors, the first are named and all are counted.
_MOST_FROZEN = 100


class QualityParameters(RangeParameters):
    """Which devices, from when to when, and what to tell apart."""

    group_by: By = Field(
        By.DEVICE, description="As JSON devices come page by page, districts and kinds at once."
    )
    cursor: str | None = Field(None, description="`next` of the page before; of devices as JSON only.")
    limit: int = Field(100, ge=1, le=1000, description="Of devices as JSON only.")


@with_config(ANSWER)
class Lag(TypedDict):
    """Of arrivals after the readings' own times, s; null without readings."""

    p50: Annotated[Seconds | None, Field(description="Median, s.")]
    p95: Annotated[Seconds | None, Field(description="95th percentile, s.")]


@with_config(ANSWER)
class ClockAhead(TypedDict):
    """Readings from the future."""

    median_seconds: Annotated[Seconds | None, Field(description="By how much, s.")]
    share: Annotated[Share | None, Field(description="How many of all, 0 to 1; null without readings.")]


@with_config(ANSWER)
class MissingNumbers(TypedDict):
    """Numbers of readings that did not come."""

    open: Annotated[Count, Field(description="Missing now.")]
    abandoned: Annotated[Count, Field(description="Given up in the range.")]


@with_config(ANSWER)
class FrozenMetric(TypedDict):
    """The longest run of one value of a metric that no longer varies."""

    device: DeviceId
    metric: MetricName
    value: Annotated[float, Field(description="In the metric's unit.", examples=[12.5])]
    readings: Annotated[int, Field(description="How many have it, one behind the other.", examples=[60])]
    start: Annotated[Start, Field(description="Of the first of them.")]
    end: Annotated[End, Field(description="Of the last of them.")]


class _Measures(TypedDict):
    devices: Annotated[Count, Field(description="How many there are.")]
    silent: Annotated[Count, Field(description="Devices that sent nothing in the range.", examples=[0])]
    expected: Annotated[Count, Field(description="Readings, by the devices' intervals.", examples=[360])]
    received: Annotated[Count, Field(description="Readings that are stored.", examples=[358])]
    completeness: Annotated[
        Share | None, Field(description="Share of the expected that came, 0 to 1; null of none.")
    ]
    lag_seconds: Lag
    clock_ahead: ClockAhead
    dead_letters: Annotated[
        dict[str, int], Field(description="Refused messages by reason.", examples=[{"unknown_metric": 1}])
    ]
    missing_numbers: MissingNumbers
    frozen: Annotated[list[FrozenMetric], Field(description="The first hundred.")]
    frozen_devices: Annotated[Count, Field(description="Devices with a frozen metric.")]
    last_age_seconds: Annotated[
        Seconds | None, Field(description="Age of the newest reading of all, s; null without one.")
    ]


@with_config(ANSWER)
class QualityGroup(_Measures):
    """What was expected of a group, what came, and how."""

    group: Group


@with_config(ANSWER)
class QualityAnswer(TypedDict):
    """The quality of the readings in the range; devices page by page."""

    start: Start
    end: End
    groups: list[QualityGroup]
    next: Next


@router.get("/quality", response_model=QualityAnswer)
async def get_quality(request: Request, api: Api, query: Annotated[QualityParameters, Query()]) -> Response:
    """Tell of devices, districts or kinds what was expected and what came, how late, and what was refused.

    Every reading in the range is looked at, so their number is limited. A cursor carries the range of its
    first page. In any other format than JSON all that are selected come at once.
    """
    format_ = wanted_format(request, query.format, JSON_OR_TABLE)
    if format_ is not Format.JSON:
        refuse_paging(query, format_)
    page = query.limit if format_ is Format.JSON and query.group_by is By.DEVICE else None
    selection = understand_selection(query, api.catalogue)
    moment = api.clock()
    start, end, after = _range(query, to_microseconds(moment))
    # Nothing is expected of the future.
    until = min(end, to_microseconds(moment))
    async with api.database.connection() as connection:
        await require_devices(connection, selection.devices)
        devices = await select_devices(connection, selection, after=after, limit=page)
        _refuse_too_many(devices, (start, until), page, api.options.max_quality_readings)
        groups = {By.DEVICE: devices.id, By.DISTRICT: devices.district, By.KIND: devices.kind}
        qualities = await read_quality(
            connection, api.catalogue, devices, groups[query.group_by], start, until
        )
    shaped: list[QualityGroup] = [
        {"group": {query.group_by.value: name}, **_shape(one, moment)} for name, one in qualities.items()
    ]
    if format_ is not Format.JSON:
        return await table_response(quality_table(query.group_by, shaped), format_)
    cursor, resolved = None, {}
    if len(devices) == page:
        cursor = encode_cursor(_SCOPE, str(devices.id[-1]), start, end)
        resolved = {"start": format_timestamp(start), "end": format_timestamp(end)}
    content: QualityAnswer = {
        "start": format_timestamp(start),
        "end": format_timestamp(end),
        "groups": shaped,
        "next": cursor,
    }
    return answer(content, headers=next_page(request, cursor, **resolved))


def _range(query: QualityParameters, now: int) -> tuple[int, int, str]:
    """Return start and end in Unix µs, and the device that the page comes after."""
    if query.cursor is None:
        start, end = parse_range(query.start, query.end, now)
        after = ""
    elif query.group_by is By.DEVICE:
        after, start, end = decode_cursor(query.cursor, _SCOPE, str, int, int)
        if not EARLIEST <= start < end < LATEST:
            raise invalid_parameter(
                "cursor", 'is not one that this list gave; take "next" of the page before'
            )
    else:
        raise invalid_parameter("cursor", "is of pages of devices; leave it out, or ask for group_by=device")
    if end - start > _LONGEST_DAYS * DAY:
        raise invalid_parameter(
            "start",
            f"the range is longer than {_LONGEST_DAYS} days; ask for start=-P{_LONGEST_DAYS}D or less",
        )
    return start, end, after


def _refuse_too_many(devices: Devices, range_: tuple[int, int], page: int | None, limit: int) -> None:
    """Refuse more readings than are looked at in one request; ``page`` is how many devices of a page were asked for."""
    expected = int(expected_of(devices, *range_).sum())
    if expected <= limit:
        return
    hours = max(1, (range_[1] - range_[0]) * limit // expected // _HOUR)
    fewer = (
        "one kind or district, or group_by=device page by page as JSON"
        if page is None
        else f"limit={max(1, page * limit // expected)}"
    )
    raise ProblemError(
        ProblemType.TOO_LARGE,
        f"about {expected} readings would be looked at, and {limit} are allowed; ask for {fewer}, or a "
        f"shorter range, such as start=-PT{hours}H",
        parameter="start",
    )


def _shape(quality: Quality, now: dt.datetime) -> _Measures:
    last = None if quality.last is None else (now - from_microseconds(quality.last)).total_seconds()
    lag = quality.lag or (None, None)
    return {
        "devices": quality.devices,
        "silent": quality.silent,
        "expected": quality.expected,
        "received": quality.received,
        "completeness": quality.completeness,
        "lag_seconds": {"p50": lag[0], "p95": lag[1]},
        "clock_ahead": {"median_seconds": quality.ahead, "share": quality.ahead_share},
        "dead_letters": quality.dead_letters,
        "missing_numbers": {"open": quality.missing_open, "abandoned": quality.missing_abandoned},
        "frozen": [_frozen(one) for one in quality.frozen[:_MOST_FROZEN]],
        "frozen_devices": len({one.device for one in quality.frozen}),
        "last_age_seconds": last,
    }


def _frozen(frozen: Frozen) -> FrozenMetric:
    return {
        "device": frozen.device,
        "metric": frozen.metric,
        "value": frozen.value,
        "readings": frozen.readings,
        "start": format_timestamp(frozen.start),
        "end": format_timestamp(frozen.end),
    }
