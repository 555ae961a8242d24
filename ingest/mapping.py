"""A format's readings to rows of a kind: the fields of a profile, or where there is none, those that are named so."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

from ingest.decode import Explanation, Fault, Row
from ingest.decoders.parsed import Reading
from sensors.checks import Reason
from sensors.errors import did_you_mean
from sensors.kinds import Kind
from sensors.profiles import Profile
from sensors.ucum import UnitError, convert

_NAN = math.nan
_MOST_PLANS = 256


class _Target(NamedTuple):
    """Where a field goes; ``unit`` is the metric's where the payload may say another one."""

    column: int
    factor: float
    offset: float
    unit: str | None

    def of(self, place: int, said: str | None) -> _Step:
        """Return what to do with a value that is said in a unit, or in none. Raises UnitError."""
        factor, offset = self.factor, self.offset
        if said is not None and self.unit is not None:
            factor, offset = _joined(said, self.unit, factor, offset)
        return _Step(place, self.column, factor, offset)


class _Step(NamedTuple):
    """The value at a place of a reading, as ``value × factor + offset``, is that of a column."""

    place: int
    column: int
    factor: float
    offset: float


class _Plan(NamedTuple):
    """What becomes of readings with the same fields in the same units."""

    steps: tuple[_Step, ...]
    faults: tuple[Fault, ...]


@dataclasses.dataclass(slots=True)
class Mapped:
    """The row of a reading, None where no field of it is mapped; and what could not be taken."""

    row: Row | None
    faults: list[Fault]


class Compiled:
    """A profile, or none, made ready for a kind."""

    def __init__(self, kind: Kind, profile: Profile | None = None) -> None:
        self.kind = kind
        self._width = len(kind.columns)
        self._targets = _of_profile(kind, profile) if profile else _of_names(kind)
        self._is_of_names = profile is None
        self._plans: dict[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], _Plan] = {}

    def map(self, reading: Reading) -> Mapped:
        """Return a reading as a row. Fields that nobody mapped are left out: firmware says more than one measures."""
        key = (tuple(reading.values), tuple(reading.units.items()))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plan(reading)
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        if not plan.steps:
            return Mapped(None, list(plan.faults))
        row, values = [_NAN] * self._width, [*reading.values.values()]
        for place, column, factor, offset in plan.steps:
            row[column] = values[place] * factor + offset
        return Mapped((reading.time, *row), list(plan.faults))

    def _plan(self, reading: Reading) -> _Plan:
        """Most of what is said comes in the same fields again: what they become is found out once."""
        steps, faults = [], []
        for place, (field, (target, others)) in enumerate(self._chosen(list(reading.values)).items()):
            if target is None:
                continue
            if others:
                names = " and ".join((field, *others))[:200]
                detail = f"{names} have the same last name; map one by a profile"
                known = Explanation(detail, None, names, "one field of a name")
                faults.append(Fault(Reason.DUPLICATE, known))
                continue
            try:
                steps.append(target.of(place, reading.units.get(field)))
            except UnitError as error:
                detail, said = f"{field}: {error}", reading.units.get(field)
                known = Explanation(detail, None, said, target.unit)
                faults.append(Fault(Reason.WRONG_UNIT, known))
        if not steps and not faults:
            faults = [Fault(Reason.NO_METRICS, self._nothing(reading.values))]
        return _Plan(tuple(steps), tuple(faults))

    def _chosen(self, fields: list[str]) -> dict[str, tuple[_Target | None, list[str]]]:
        """Return where each field goes, and of those that go nowhere for it, which others have the same last name.

        Without a profile a field within others, such as ``BME280.Temperature``, is the metric of its last name, if no
        field is that alone.
        """
        chosen: dict[str, tuple[_Target | None, list[str]]] = {
            field: (self._targets.get(field), []) for field in fields
        }
        if not self._is_of_names:
            return chosen
        alike: dict[str, list[str]] = {}
        for field in fields:
            name = field.rpartition(".")[2].lower()
            if name != field and name in self._targets and name not in chosen:
                alike.setdefault(name, []).append(field)
        for name, (first, *others) in alike.items():
            chosen[first] = (self._targets[name], others)
        return chosen

    def _nothing(self, values: Mapping[str, float]) -> Explanation:
        names = (", ".join(list(values)[:8]) or "none")[:200]
        wanted = did_you_mean(next(iter(values), ""), self._targets)
        detail = f"no field of it is mapped to a metric of {self.kind.name} (it has: {names}); {wanted}"
        return Explanation(detail, None, names, ", ".join(self._targets) or None)


def _joined(said: str, wanted: str, factor: float, offset: float) -> tuple[float, float]:
    """Return the line that first scales a value as the profile says, and then converts its unit."""
    conversion = convert(said, wanted)
    return factor * conversion.factor, offset * conversion.factor + conversion.offset


def _of_profile(kind: Kind, profile: Profile) -> dict[str, _Target]:
    targets = {}
    for one in profile.fields:
        column = kind.index.get(one.metric)
        if column is None:
            continue  # a catalogue that came later than the profile
        unit = kind.metrics[column].unit
        factor, offset = one.scale, one.offset
        if one.unit is not None:
            factor, offset = _joined(one.unit, unit, factor, offset)
        targets[one.field] = _Target(column, factor, offset, None if one.unit is not None else unit)
    return targets


def _of_names(kind: Kind) -> dict[str, _Target]:
    return {metric.name: _Target(column, 1.0, 0.0, metric.unit) for column, metric in enumerate(kind.metrics)}
