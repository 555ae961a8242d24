"""What a Sparkplug birth says of its metrics, and readings by it."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from ingest.decoders.parsed import NO_UNITS, Parsed, Reading, Refusal
from ingest.decoders.sparkplug_payload import DATETIME, LAST_MILLISECOND, Metric, MisfitError, Payload
from ingest.decoders.sparkplug_values import number_of
from sensors.checks import Reason

DEATH_SEQUENCE = "bdSeq"
LONGEST_NAME = 256
MOST_NAMES_OF_A_NODE = 20_000
# Of one message; nobody reads more, and a message made of faults is not to cost more than one of values.
MOST_REFUSALS = 100

_CONTROLS = ("Node Control/", "Device Control/")


class Born(NamedTuple):
    """A metric as its birth has it; what is not ``measured`` is the session's own."""

    name: str
    datatype: int
    unit: str | None
    is_measured: bool


@dataclasses.dataclass(slots=True)
class Birth:
    """The metrics of a node or a device."""

    by_name: dict[str, Born] = dataclasses.field(default_factory=dict)
    by_alias: dict[int, Born] = dataclasses.field(default_factory=dict)

    @property
    def size(self) -> int:
        """Return how many names it has, or aliases if these are more."""
        return max(len(self.by_name), len(self.by_alias))


def learn(metrics: list[Metric], room: int, parsed: Parsed) -> tuple[Birth, list[Born | None]]:
    """Return what a birth says, at most ``room`` names, and what each of its metrics is."""
    birth = Birth()
    metrics_are: list[Born | None] = []
    for place, metric in enumerate(metrics):
        if birth.size >= room:
            valid = f"at most {MOST_NAMES_OF_A_NODE:,} metrics of a node and its devices"
            _refuse(parsed, Reason.TOO_LARGE, f"/metrics/{place}", f"{len(metrics)} metrics", valid)
            break
        born = _born(metric, place, parsed)
        if born is not None:
            birth.by_name[born.name] = born
            if metric.alias is not None:
                birth.by_alias[metric.alias] = born
        metrics_are.append(born)
    return birth, metrics_are


def find(metrics: list[Metric], birth: Birth, parsed: Parsed) -> list[Born | None]:
    """Return what each metric of a data message is, by its name or its alias."""
    by_name, by_alias = birth.by_name, birth.by_alias
    metrics_are: list[Born | None] = []
    for place, metric in enumerate(metrics):
        if metric.name is not None:
            born = by_name.get(metric.name)
        else:
            born = None if metric.alias is None else by_alias.get(metric.alias)
        metrics_are.append(born or _not_of_birth(metric, place, parsed))
    return metrics_are


def gather(payload: Payload, metrics_are: list[Born | None], source: str, parsed: Parsed) -> None:
    """Add the readings of a source: one for each time, those of the past apart."""
    groups: dict[tuple[int | None, bool], tuple[dict[str, float], dict[str, str]]] = {}
    for place, (metric, born) in enumerate(zip(payload.metrics, metrics_are, strict=False)):
        if born is None or not metric.has_value or not born.is_measured:
            continue
        datatype = metric.datatype or born.datatype
        stamp = payload.timestamp if metric.timestamp is None else metric.timestamp
        try:
            value = number_of(metric, datatype)
            if value is not None and stamp is not None and stamp > LAST_MILLISECOND:
                raise MisfitError(Reason.TIME_UNREADABLE, str(stamp), "a timestamp in Unix milliseconds")
        except MisfitError as misfit:
            _refuse(parsed, misfit.reason, f"/metrics/{place}", misfit.found, misfit.valid)
            continue
        if value is None:
            continue
        group = groups.get((stamp, metric.is_historical))
        if group is None:
            group = groups[stamp, metric.is_historical] = ({}, {})
        group[0][born.name] = value
        if unit := "ms" if datatype == DATETIME else born.unit:
            group[1][born.name] = unit
    for (stamp, is_historical), (values, units) in groups.items():
        time = math.nan if stamp is None else stamp / 1000
        parsed.readings.append(Reading(source, time, values, units or NO_UNITS, is_historical))


def death_sequence(payload: Payload) -> int | None:
    """Return the ``bdSeq`` of a node's birth or death, which tells its sessions apart, None without one."""
    return next(
        (
            metric.value
            for metric in payload.metrics
            if metric.name == DEATH_SEQUENCE and metric.field in ("long_value", "int_value")
        ),
        None,
    )


def _born(metric: Metric, place: int, parsed: Parsed) -> Born | None:
    name = metric.name
    if name is None or len(name) > LONGEST_NAME:
        reason = Reason.UNDECODABLE if name is None else Reason.TOO_LARGE
        found = "no name" if name is None else f"a name of {len(name)} characters"
        _refuse(
            parsed, reason, f"/metrics/{place}/name", found, f"a name of at most {LONGEST_NAME} characters"
        )
        return None
    is_measured = name != DEATH_SEQUENCE and not name.startswith(_CONTROLS)
    return Born(name, metric.datatype, metric.unit, is_measured)


def _not_of_birth(metric: Metric, place: int, parsed: Parsed) -> Born | None:
    """Return what a metric says of itself, if that is all there is to know, or refuse it until the next birth."""
    if metric.name is not None and metric.datatype:
        return _born(metric, place, parsed)
    path = f"/metrics/{place}"
    if metric.name is None and metric.alias is None:
        _refuse(parsed, Reason.UNDECODABLE, path, "no name and no alias", "a name or an alias")
        return None
    what = f"alias {metric.alias}" if metric.name is None else f'"{metric.name[:40]}"'
    valid = "what the last birth has; replay this once the node was born again"
    _refuse(parsed, Reason.NO_BIRTH, path, f"{what}, which the birth has not", valid)
    return None


def _refuse(parsed: Parsed, reason: Reason, path: str, found: str, valid: str) -> None:
    if len(parsed.refusals) < MOST_REFUSALS:
        parsed.refusals.append(Refusal(reason, path, found, valid))
