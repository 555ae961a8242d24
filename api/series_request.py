"""What a series is asked for: the parameters, understood."""

from __future__ import annotations

import dataclasses
import enum
import re
import zoneinfo
from collections.abc import Sequence

from pydantic import Field

from api.formats import Format
from api.parameters import parse_range, parse_zone, require_known, split_list
from api.problems import invalid_parameter, unknown_value
from api.selection import SelectionParameters, understand_selection
from sensors.catalogue import Catalogue
from sensors.kinds import Kind
from sensors.times import DAY, from_microseconds, parse_duration, to_microseconds
from storage.buckets import Step, boundaries, finest_step, parse_step
from storage.selection import Selection
from storage.series_query import Aggregate, GroupBy, SeriesQuery

_MOST_METRICS, _MOST_AGGREGATES = 20, 20
PERCENTILE = re.compile(r"^p(\d{1,2}(?:\.\d{1,6})?)$")
_LONGEST_COMPARISON = 4000 * DAY


class Fill(enum.StrEnum):
    """What stands in buckets without a value: nothing at all, null, the value before, or a straight line."""

    NONE = "none"
    NULL = "null"
    PREVIOUS = "previous"
    LINEAR = "linear"


class SeriesParameters(SelectionParameters):
    """What to aggregate of which devices. Lists are repeated or separated by commas."""

    metric: list[str] = Field(description="One or several, such as pm2_5.", examples=[["pm2_5"]])
    agg: list[str] = Field(
        ["avg"],
        description="avg, min, max, sum, count, first, last, stddev, median, p90 or any other p…, twa, twa_linear, "
        "increase, rate, exceed.",
    )
    start: str = Field("-PT24H", description="RFC 3339 with zone, `now`, or from now such as `-PT6H`.")
    end: str = Field("now", description="Not part of the range itself.")
    step: str = Field("auto", description="ISO 8601, such as PT1S, PT5M, PT1H, P1D, P1W, P1M, P1Y; or auto.")
    max_points: int = Field(300, ge=1, le=11_000, description="With step=auto: buckets of a series, at most.")
    tz: str | None = Field(None, description="IANA zone of the buckets; the city's if left out.")
    group_by: GroupBy = GroupBy.NONE
    fill: Fill = Field(Fill.NULL, description="What stands in buckets without a value.")
    compare: str | None = Field(
        None, description="Also the same span so much earlier, such as -P7D.", examples=["-P7D"]
    )
    limit: float | None = Field(None, description="For agg=exceed: seconds above it are counted.")
    format: Format | None = None
    exact: bool = Field(default=False, description="Percentiles from every reading, not from sketches.")


@dataclasses.dataclass(frozen=True, slots=True)
class SeriesRequest:
    """The parameters, understood; times in Unix µs. ``percentiles`` are quantiles by the name they were asked by."""

    metrics: tuple[str, ...]
    aggregates: frozenset[Aggregate]
    percentiles: dict[str, float]
    start: int
    end: int
    now: int
    step: Step
    zone: zoneinfo.ZoneInfo
    group_by: GroupBy
    fill: Fill
    kinds: tuple[Kind, ...]
    selection: Selection
    limit: float | None
    exact: bool
    compare: int | None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what is computed beside the count, in a fixed order."""
        named = [one.value for one in Aggregate if one in self.aggregates and one is not Aggregate.COUNT]
        return (*named, *self.percentiles)

    def edges(self) -> list[int]:
        """Return the boundaries of the buckets, Unix µs."""
        return boundaries(self.start, self.end, self.step, self.zone)

    def query(self, edges: Sequence[int], kinds: tuple[Kind, ...]) -> SeriesQuery:
        """Return what storage is asked for."""
        return SeriesQuery(
            metrics=self.metrics,
            aggregates=self.aggregates,
            start=self.start,
            end=self.end,
            boundaries=edges,
            group_by=self.group_by,
            kinds=kinds,
            selection=self.selection,
            quantiles=tuple(self.percentiles.values()),
            exact=self.exact,
            limit=self.limit,
            now=self.now,
        )

    def earlier(self, edges: Sequence[int]) -> tuple[SeriesRequest, list[int]]:
        """Return the same question about the span that it is compared with, and its boundaries."""
        by = self.compare or 0
        moved = dataclasses.replace(
            self, start=shift(self.start, by, self.zone), end=shift(self.end, by, self.zone), compare=None
        )
        return moved, [shift(edge, by, self.zone) for edge in edges]


def shift(moment: int, by: int, zone: zoneinfo.ZoneInfo) -> int:
    """Return a time (Unix µs) moved: by whole days as the zone's clock shows them, by anything else as it passes."""
    if by % DAY:
        return moment + by
    local = from_microseconds(moment).astimezone(zone)
    # Of a wall clock's time, which datetime moves without regard to the zone: that is what is wanted here.
    return to_microseconds(local + (from_microseconds(by) - from_microseconds(0)))


def understand(query: SeriesParameters, catalogue: Catalogue, now: int) -> SeriesRequest:
    """Return what is asked; a problem says which parameter is not valid."""
    metrics = split_list(query.metric)
    if not 1 <= len(metrics) <= _MOST_METRICS:
        raise invalid_parameter(
            "metric", f"name 1 to {_MOST_METRICS} metrics; GET /api/v1/metrics lists them"
        )
    require_known("metric", metrics, catalogue.metric_of)
    selection = understand_selection(query, catalogue)
    aggregates, percentiles = _aggregates(split_list(query.agg))
    if (Aggregate.EXCEED in aggregates) != (query.limit is not None):
        raise invalid_parameter("limit", "agg=exceed and limit go together; ask for agg=exceed&limit=35")
    start, end = parse_range(query.start, query.end, now)
    return SeriesRequest(
        metrics=metrics,
        aggregates=aggregates,
        percentiles=percentiles,
        start=start,
        end=end,
        now=now,
        step=_step(query.step, start, end, query.max_points),
        zone=parse_zone("tz", query.tz or catalogue.city.timezone),
        group_by=query.group_by,
        fill=query.fill,
        kinds=_kinds(metrics, selection, catalogue),
        selection=selection,
        limit=query.limit,
        exact=query.exact,
        compare=None if query.compare is None else _comparison(query.compare),
    )


def _aggregates(names: Sequence[str]) -> tuple[frozenset[Aggregate], dict[str, float]]:
    if not 1 <= len(names) <= _MOST_AGGREGATES:
        raise invalid_parameter("agg", f"name 1 to {_MOST_AGGREGATES} aggregates, such as avg,max,p95")
    plain = [name for name in names if name in set(Aggregate)]
    percentiles = {name: _quantile(name) for name in names if name not in plain}
    return frozenset(map(Aggregate, plain)), percentiles


def _quantile(name: str) -> float:
    if name == "median":
        return 0.5
    match = PERCENTILE.fullmatch(name)
    if match is None or not 0 < float(match[1]) < 100:
        raise unknown_value("agg", name, [*Aggregate, "median", "p50", "p90", "p95", "p99"])
    return float(match[1]) / 100


def _step(text: str, start: int, end: int, most: int) -> Step:
    if text == "auto":
        return finest_step(start, end, most)
    try:
        return parse_step(text)
    except ValueError as error:
        raise invalid_parameter("step", str(error)) from None


def _comparison(text: str) -> int:
    try:
        by = parse_duration(text)
    except ValueError as error:
        raise invalid_parameter("compare", f"{error}, with a minus before it: -P7D") from None
    if not -_LONGEST_COMPARISON <= by < 0:
        raise invalid_parameter("compare", f"{text} is not an earlier span; write -P1D, -P7D or -P364D")
    return by


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
