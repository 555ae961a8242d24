"""A format's readings to rows of a kind: the fields of a profile, or where there is none, those that are named so."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ingest.decode import Fault, Row
from ingest.decoders.parsed import Reading
from sensors.checks import Reason
from sensors.errors import did_you_mean
from sensors.kinds import Kind
from sensors.profiles import Profile
from sensors.ucum import UnitError, convert

_NAN = math.nan


class _Target(NamedTuple):
    """Where a field goes; ``unit`` is the metric's where the payload may say another one."""

    column: int
    factor: float
    offset: float
    unit: str | None

    def value(self, value: float, said: str | None) -> float:
        """Return a value that is said in a unit, or in none, in the metric's. Raises UnitError."""
        if said is None or self.unit is None:
            return value * self.factor + self.offset
        factor, offset = _joined(said, self.unit, self.factor, self.offset)
        return value * factor + offset


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

    def map(self, reading: Reading) -> Mapped:
        """Return a reading as a row. Fields that nobody mapped are left out: firmware says more than one measures."""
        row = [_NAN] * self._width
        found, faults, units = 0, [], reading.units
        targets, values = self._targets, reading.values
        for field, value in values.items():
            target = targets.get(field)
            if target is None:
                continue
            try:
                row[target.column] = target.value(value, units.get(field))
            except UnitError as error:
                faults.append(Fault(Reason.WRONG_UNIT, f"{field}: {error}"))
            else:
                found += 1
        if self._is_of_names:
            for field, target, others in _by_last_name(values, targets):
                if others:
                    names = " and ".join((field, *others))[:200]
                    faults.append(
                        Fault(Reason.DUPLICATE, f"{names} have the same last name; map one by a profile")
                    )
                    continue
                try:
                    row[target.column] = target.value(values[field], units.get(field))
                except UnitError as error:
                    faults.append(Fault(Reason.WRONG_UNIT, f"{field}: {error}"))
                else:
                    found += 1
        if found:
            return Mapped((reading.time, *row), faults)
        if not faults:
            faults = [Fault(Reason.NO_METRICS, self._nothing(values))]
        return Mapped(None, faults)

    def _nothing(self, values: Mapping[str, float]) -> str:
        names = ", ".join(list(values)[:8]) or "none"
        wanted = did_you_mean(next(iter(values), ""), self._targets)
        return f"no field of it is mapped to a metric of {self.kind.name} (it has: {names[:200]}); {wanted}"


def _by_last_name(
    values: Mapping[str, float], targets: Mapping[str, _Target]
) -> Iterator[tuple[str, _Target, list[str]]]:
    """Yield fields within others, such as ``BME280.Temperature``, whose last name is a metric's that no field has
    alone; with those that have the same."""
    of_metric: dict[str, list[str]] = {}
    for field in values:
        name = field.rpartition(".")[2].lower()
        if name != field and name in targets and name not in values:
            of_metric.setdefault(name, []).append(field)
    for name, (field, *others) in of_metric.items():
        yield field, targets[name], others


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
