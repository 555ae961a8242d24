"""A format's readings to rows of a kind: the fields of a profile, or where there is none, those that are named so."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec

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

    def of(self, place: int, said: str | None) -> Step:
        """Return what to do with a value that is said in a unit, or in none. Raises UnitError."""
        factor, offset = self.factor, self.offset
        if said is not None and self.unit is not None:
            factor, offset = _joined(said, self.unit, factor, offset)
        return Step(place, self.column, factor, offset)


class Step(NamedTuple):
    """The value at a place of a reading, as ``value × factor + offset``, is that of a column."""

    place: int
    column: int
    factor: float
    offset: float

    @property
    def is_as_said(self) -> bool:
        """Whether the value is taken as it is."""
        return self.factor == 1.0 and self.offset == 0.0


class _Plan(msgspec.Struct, frozen=True, gc=False):
    """What becomes of readings with the same fields in the same units.

    ``pick`` takes the row from time, values and NaN, None if it would be empty; ``scaled`` are the columns of it that
    are not as they were said.
    """

    units: Mapping[str, str]
    steps: tuple[Step, ...]
    pick: Callable[[Sequence[float]], Row] | None
    scaled: tuple[Step, ...]
    faults: tuple[Fault, ...]


class Mapped(msgspec.Struct, gc=False):
    """The row of a reading, None where no field of it is mapped; and what could not be taken."""

    row: Row | None
    faults: tuple[Fault, ...]


class Compiled:
    """A profile, or none, made ready for a kind."""

    def __init__(self, kind: Kind, profile: Profile | None = None) -> None:
        self.kind = kind
        self._width = len(kind.columns)
        self._targets = _of_profile(kind, profile) if profile else _of_names(kind)
        self._is_of_names = profile is None
        self._plans: dict[tuple[str, ...], list[_Plan]] = {}
        self._planned = 0

    def map(self, reading: Reading) -> Mapped:
        """Return a reading as a row. Fields that nobody mapped are left out: firmware says more than one measures."""
        plan = self._plan_of(reading)
        if plan.pick is None:
            return Mapped(None, plan.faults)
        row = plan.pick([reading.time, *reading.values.values(), _NAN])
        if plan.scaled:
            row = _scaled(row, plan.scaled)
        return Mapped(row, plan.faults)

    def steps(self, reading: Reading, unread: Iterable[str] = ()) -> dict[str, Step] | None:
        """Return what becomes of each field that is mapped; None if that were not the same beside ``unread`` fields."""
        steps = self._steps(reading)
        beside = {**reading.values, **dict.fromkeys(unread, 0.0)}
        return steps if steps == self._steps(msgspec.structs.replace(reading, values=beside)) else None

    def _steps(self, reading: Reading) -> dict[str, Step]:
        fields = [*reading.values]
        return {fields[step.place]: step for step in self._plan_of(reading).steps}

    def _plan_of(self, reading: Reading) -> _Plan:
        units = reading.units
        for plan in self._plans.get(tuple(reading.values), ()):
            # Decoders that say the same units again and again share them.
            if plan.units is units or plan.units == units:
                return plan
        return self._remember(reading)

    def _remember(self, reading: Reading) -> _Plan:
        """Most of what is said comes in the same fields again: what they become is found out once."""
        if self._planned >= _MOST_PLANS:
            self._plans.clear()
            self._planned = 0
        plan = self._plan(reading)
        self._plans.setdefault(tuple(reading.values), []).append(plan)
        self._planned += 1
        return plan

    def _plan(self, reading: Reading) -> _Plan:
        steps: list[Step] = []
        faults: list[Fault] = []
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
        units = reading.units if isinstance(reading.units, MappingProxyType) else dict(reading.units)
        scaled = tuple([step for step in steps if not step.is_as_said])
        pick = self._pick(steps, len(reading.values)) if steps else None
        return _Plan(units, tuple(steps), pick, scaled, tuple(faults))

    def _pick(self, steps: Sequence[Step], count: int) -> Callable[[Sequence[float]], Row]:
        places = [0] + [count + 1] * self._width
        for step in steps:
            places[step.column + 1] = step.place + 1
        return operator.itemgetter(*places)

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


def _scaled(row: Row, steps: Iterable[Step]) -> Row:
    values = [*row]
    for _, column, factor, offset in steps:
        values[column + 1] = values[column + 1] * factor + offset
    return tuple(values)


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
