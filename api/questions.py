"""Questions about one metric of some devices over a range: their parameters, and what to warn of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pydantic import Field

from api.formats import Format
from api.parameters import parse_range, require_devices, require_known, split_list
from api.problems import invalid_parameter
from api.selection import SelectionParameters, understand_selection
from sensors.catalogue import Catalogue
from sensors.kinds import Behaviour, Kind, Metric
from storage.kinds import Connection
from storage.selection import Members, Selection, count_members
from storage.series import read_series
from storage.series_query import Aggregate, GroupBy, Series, SeriesQuery


class RangeParameters(SelectionParameters):
    """Which devices, from when to when."""

    start: str = Field("-PT24H", description="RFC 3339 with zone, `now`, or from now such as `-PT6H`.")
    end: str = Field("now", description="Not part of the range itself.")
    format: Format | None = None


class MetricParameters(RangeParameters):
    """Which metric of which devices, from when to when."""

    metric: str = Field(description="One, such as pm2_5.", examples=["pm2_5"])
    agg: Aggregate = Aggregate.AVG


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """The parameters, understood; times in Unix µs, ``kinds`` those of the selection that measure the metric."""

    metric: Metric
    agg: Aggregate
    start: int
    end: int
    kinds: tuple[Kind, ...]
    selection: Selection

    @property
    def names(self) -> tuple[str, ...]:
        """The name of what is computed beside the count, if anything is."""
        return () if self.agg is Aggregate.COUNT else (self.agg.value,)


def understand_question(query: MetricParameters, catalogue: Catalogue, now: int) -> Question:
    """Return what is asked; a problem says which parameter is not valid."""
    require_known("metric", [query.metric], catalogue.metric_of)
    if query.agg is Aggregate.EXCEED:
        raise invalid_parameter("agg", "exceed needs a limit, which only series has; ask for avg or max")
    selection = understand_selection(query, catalogue)
    measuring = catalogue.kinds_measuring(query.metric)
    kinds = tuple(kind for kind in measuring if not selection.kinds or kind.name in selection.kinds)
    if not kinds:
        names = [kind.name for kind in measuring]
        raise invalid_parameter(
            "kind",
            f"{', '.join(split_list(query.kind))} does not measure {query.metric}; ask for {', '.join(names)}",
            valid=names,
        )
    start, end = parse_range(query.start, query.end, now)
    return Question(catalogue.metric_of[query.metric], query.agg, start, end, kinds, selection)


async def measuring_members(connection: Connection, question: Question) -> list[Members]:
    """Return who of the selected devices measures the metric. Raises a problem where one that is named is not there."""
    await require_devices(connection, question.selection.devices)
    members = await count_members(connection, question.selection, question.start)
    return measuring(members, question.kinds)


def measuring(members: Sequence[Members], kinds: Sequence[Kind]) -> list[Members]:
    """Return those of some devices that are of one of the kinds."""
    names = {kind.name for kind in kinds}
    return [one for one in members if one.kind in names]


def count_groups(members: Sequence[Members], group_by: GroupBy) -> int:
    """Return how many groups some devices make."""
    return {
        GroupBy.NONE: 1,
        GroupBy.KIND: len({one.kind for one in members}),
        GroupBy.DISTRICT: len({one.district for one in members}),
        GroupBy.DEVICE: sum(one.devices for one in members),
    }[group_by]


async def read_answer(
    connection: Connection,
    question: Question,
    members: Sequence[Members],
    agg: Aggregate,
    group_by: GroupBy,
    boundaries: Sequence[int],
) -> list[Series]:
    """Return the series of the metric between boundaries (Unix µs), one of each group that has a value."""
    present = {one.kind for one in members}
    kinds = tuple(kind for kind in question.kinds if kind.name in present)
    if not kinds:
        return []
    return await read_series(
        connection,
        SeriesQuery(
            metrics=(question.metric.name,),
            aggregates=frozenset({agg}),
            start=question.start,
            end=question.end,
            boundaries=boundaries,
            group_by=group_by,
            kinds=kinds,
            selection=question.selection,
        ),
    )


def warnings_of(question: Question, members: Sequence[Members], series: Sequence[Series]) -> list[str]:
    """Return what the answer's reader should know of its devices, its metric and its values."""
    warnings = []
    if question.selection.simulated is None and any(one.simulated for one in members):
        warnings.append("includes readings of simulated devices; simulated=false leaves them out")
    is_counter = question.metric.behaviour is Behaviour.COUNTER
    if is_counter and question.agg in (Aggregate.AVG, Aggregate.SUM):
        warnings.append(
            f"{question.metric.name} is a counter, which only rises: {question.agg.value} of its readings "
            "means nothing; ask for agg=max"
        )
    if not series:
        warnings.append("no reading in the range has a value")
    return warnings
