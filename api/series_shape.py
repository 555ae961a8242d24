"""Series as an answer: columns of one group and metric, gaps filled, times in the zone of the question."""

from __future__ import annotations

import dataclasses
import functools
import zoneinfo
from collections.abc import Iterator, Sequence
from typing import Annotated, NotRequired, cast

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from api.members import ANSWER, Group, Integers, MetricName, Numbers, Unit, WrittenTimes
from api.series_request import PERCENTILE, Fill, SeriesRequest
from sensors.catalogue import Catalogue
from sensors.kinds import Behaviour
from sensors.times import from_microseconds
from storage.selection import Members
from storage.series_query import Aggregate, Answer, Series

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Shaped:
    """One series as it is answered: the buckets that are in it, by place, and their columns."""

    group: str | None
    metric: str
    unit: str
    places: npt.NDArray[np.intp]
    count: npt.NDArray[np.int64]
    coverage: Floats
    values: dict[str, Floats]


class _Buckets(TypedDict):
    group: Group
    metric: MetricName
    unit: Unit
    start: Annotated[
        WrittenTimes,
        Field(
            description="When each bucket begins, in the zone `tz`.", examples=[["2026-01-15T16:00:00+05:00"]]
        ),
    ]
    end: Annotated[
        WrittenTimes,
        Field(
            description="When it ends, in the zone `tz`; not part of it.",
            examples=[["2026-01-15T17:00:00+05:00"]],
        ),
    ]
    count: Annotated[Integers, Field(description="Values in each bucket.", examples=[[60]])]
    coverage: Annotated[
        Numbers,
        Field(description="Share of the expected readings that came; null of none.", examples=[[1.0]]),
    ]


@with_config(
    ConfigDict(
        **ANSWER,
        json_schema_extra={
            "patternProperties": {
                PERCENTILE.pattern: {
                    "type": "array",
                    "items": {"type": ["number", "null"]},
                    "description": "Percentile, in the unit.",
                }
            }
        },
    )
)
class SeriesGroup(_Buckets):
    """A series in columns, arrays of equal length; of the aggregates those that were asked for."""

    avg: NotRequired[Annotated[Numbers, Field(description="Mean, in the unit.", examples=[[12.5]])]]
    min: NotRequired[Annotated[Numbers, Field(description="Lowest value, in the unit.")]]
    max: NotRequired[Annotated[Numbers, Field(description="Highest value, in the unit.")]]
    sum: NotRequired[Annotated[Numbers, Field(description="In the unit.")]]
    first: NotRequired[Annotated[Numbers, Field(description="By the readings' times, in the unit.")]]
    last: NotRequired[Annotated[Numbers, Field(description="By the readings' times, in the unit.")]]
    stddev: NotRequired[Annotated[Numbers, Field(description="Of a sample, in the unit.")]]
    median: NotRequired[Annotated[Numbers, Field(description="In the unit.")]]
    twa: NotRequired[Annotated[Numbers, Field(description="Weighted by time, in the unit.")]]
    twa_linear: NotRequired[
        Annotated[Numbers, Field(description="Weighted by time along straight lines, in the unit.")]
    ]
    increase: NotRequired[Annotated[Numbers, Field(description="Rise of counters, in the unit.")]]
    rate: NotRequired[Annotated[Numbers, Field(description="That for each second, unit/s.")]]
    exceed: NotRequired[Annotated[Numbers, Field(description="Time above the limit, s.")]]


def shape_all(
    series: Sequence[Series], edges: Sequence[int], asked: SeriesRequest, catalogue: Catalogue
) -> Iterator[Shaped]:
    """Yield series as they are answered."""
    begins = np.array(edges[:-1], np.int64)
    for one in series:
        unit = catalogue.metric_of[one.metric].unit
        by_name = {aggregate.value: values for aggregate, values in one.values.items()}
        by_name |= {name: one.quantiles[quantile] for name, quantile in asked.percentiles.items()}
        places = np.flatnonzero(one.count) if asked.fill is Fill.NONE else np.arange(len(begins))
        known = np.where(one.expected > 0, one.expected, np.nan)
        yield Shaped(
            one.group,
            one.metric,
            unit,
            places,
            one.count[places],
            np.minimum(one.count / known, 1.0)[places],
            {name: fill(by_name[name], begins, asked.fill)[places] for name in asked.names},
        )


def fill(values: Floats, begins: npt.NDArray[np.int64], how: Fill) -> Floats:
    """Return values of buckets that begin at given times, NaN where there is none, with their gaps filled."""
    known = np.flatnonzero(~np.isnan(values))
    if how in (Fill.NONE, Fill.NULL) or not len(known):
        return values
    before = np.searchsorted(known, np.arange(len(values)), side="right") - 1
    if how is Fill.PREVIOUS:
        return np.where(before >= 0, values[known[np.maximum(before, 0)]], np.nan)
    return np.interp(begins, begins[known], values[known], left=np.nan, right=np.nan)


def as_groups(shaped: Sequence[Shaped], edges: Sequence[int], asked: SeriesRequest) -> list[SeriesGroup]:
    """Return series as columnar JSON."""
    labels = [local(edge, asked.zone) for edge in edges]
    # Most series have the same buckets: they are written once and repeated as they are.
    whole = tuple(orjson.Fragment(orjson.dumps(part)) for part in (labels[:-1], labels[1:]))
    groups = []
    for one in shaped:
        starts, ends = whole
        if len(one.places) < len(edges) - 1:
            starts, ends = (
                orjson.Fragment(orjson.dumps([labels[place + shift] for place in one.places.tolist()]))
                for shift in (0, 1)
            )
        buckets: _Buckets = {
            "group": {} if one.group is None else {asked.group_by.value: one.group},
            "metric": one.metric,
            "unit": one.unit,
            "start": starts,
            "end": ends,
            "count": one.count,
            "coverage": one.coverage,
        }
        # Which aggregates there are is known at run time only.
        groups.append(cast("SeriesGroup", {**buckets, **one.values}))
    return groups


# The buckets of a range are those of the next one that is asked for, but for its ends.
@functools.lru_cache(maxsize=50_000)
def local(microseconds: int, zone: zoneinfo.ZoneInfo) -> str:
    """Return a time as RFC 3339 in a zone."""
    return from_microseconds(microseconds).astimezone(zone).isoformat().replace("+00:00", "Z")


def warnings_of(
    asked: SeriesRequest,
    edges: Sequence[int],
    members: Sequence[Members],
    answer: Answer,
    catalogue: Catalogue,
) -> list[str]:
    """Return what the reader of an answer should know."""
    warnings = [*_of_devices(asked, members), *_of_counters(asked, catalogue)]
    for what, edge, bound, is_partial in (
        ("first", edges[0], asked.start, edges[0] < asked.start),
        ("last", edges[-1], asked.end, edges[-1] > asked.end),
    ):
        if is_partial:
            verb = "begins" if what == "first" else "ends"
            warnings.append(
                f"the {what} bucket is partial: it {verb} at {local(edge, asked.zone)}, the range at "
                f"{local(bound, asked.zone)}"
            )
    for start, stop in answer.gone:
        warnings.append(
            f"from {local(start, asked.zone)} to {local(stop, asked.zone)} the readings are not kept any more; ask "
            "for a step of PT1H or more whose buckets begin and end at whole hours, and for avg, min, max, sum, "
            "count, first, last, stddev or percentiles"
        )
    if not answer.series:
        warnings.append("no reading in the range has a value")
    return warnings


def _of_devices(asked: SeriesRequest, members: Sequence[Members]) -> list[str]:
    kinds = {kind.name for kind in asked.kinds}
    if asked.selection.simulated is None and any(one.simulated for one in members if one.kind in kinds):
        return ["includes readings of simulated devices; simulated=false leaves them out"]
    return []


def _of_counters(asked: SeriesRequest, catalogue: Catalogue) -> list[str]:
    counters = [m for m in asked.metrics if catalogue.metric_of[m].behaviour is Behaviour.COUNTER]
    others = [m for m in asked.metrics if m not in counters]
    meaningless = sorted(asked.aggregates & {Aggregate.AVG, Aggregate.SUM})
    rising = sorted(asked.aggregates & {Aggregate.INCREASE, Aggregate.RATE})
    warnings = []
    if meaningless:
        warnings += [
            f"{metric} is a counter, which only rises: {' and '.join(meaningless)} of its readings mean nothing; "
            "ask for agg=increase or agg=rate"
            for metric in counters
        ]
    if rising:
        warnings += [
            f"{metric} is no counter: {' and '.join(rising)} take each fall for a new beginning at zero"
            for metric in others
        ]
    return warnings
