"""Rules of alerts as data: what each kind of rule may say, read from a document and held against the catalogue."""

from __future__ import annotations

import datetime as dt
import enum
import re
import zoneinfo
from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec

from sensors.catalogue import Catalogue
from sensors.errors import RuleError, did_you_mean
from sensors.times import DAY, SECOND, parse_duration

RULE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00")
_LONGEST = 7 * DAY
Struct = msgspec.Struct


class RuleKind(enum.StrEnum):
    """What a rule looks at."""

    THRESHOLD = "threshold"
    RATE = "rate"
    SILENCE = "silence"
    FROZEN = "frozen"
    EXCEEDANCE = "exceedance"
    RATIO = "ratio"
    AGGREGATE = "aggregate"


class Schedule(Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """When alerts may begin: days, and hours of their clock, over midnight where ``from`` is later than ``to``."""

    days: tuple[Day, ...] = _DAYS
    start: str = "00:00"
    end: str = "24:00"
    timezone: str | None = None  # None: the city's

    def holds(self, now: int, city_zone: str) -> bool:
        """Return whether a time, Unix µs, is within. The hours after midnight are of the day before it."""
        local = dt.datetime.fromtimestamp(now / SECOND, zoneinfo.ZoneInfo(self.timezone or city_zone))
        clock = f"{local:%H:%M}"
        if self.start <= self.end:
            return _DAYS[local.weekday()] in self.days and self.start <= clock < self.end
        is_evening = clock >= self.start
        day = local.weekday() if is_evening else local.weekday() - 1
        return (is_evening or clock < self.end) and _DAYS[day] in self.days


class Definition(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every rule may say. Empty lists are all.

    ``lasting`` is how long it must hold until it counts, ``clear_after`` how long it must be gone until it is over, as
    ISO 8601.
    """

    districts: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    lasting: str = "PT0S"
    clear_after: str = "PT0S"
    schedule: Schedule | None = None

    @property
    def durations(self) -> Mapping[str, str]:
        """Durations by name."""
        return {"lasting": self.lasting, "clear_after": self.clear_after}


class OfMetric(Definition, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of one metric, of one kind or of all that have it."""

    metric: str
    kind: str | None = None


class Limited(OfMetric, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Above one limit or below it, in the metric's unit; over at ``clear``, or at the limit where that is not said."""

    above: float | None = None
    below: float | None = None
    clear: float | None = None

    @property
    def limit(self) -> float:
        """The limit that there is."""
        return self.above if self.above is not None else self.below or 0.0

    @property
    def end(self) -> float:
        """Where it is over again."""
        return self.limit if self.clear is None else self.clear


class Threshold(Limited, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The latest value is beyond a limit."""


class Rate(OfMetric, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The value has risen, or fallen, by more than so much within a time."""

    within: str = "PT10M"
    rise: float | None = None
    fall: float | None = None

    @property
    def durations(self) -> Mapping[str, str]:
        """Durations by name."""
        return {"lasting": self.lasting, "clear_after": self.clear_after, "within": self.within}


class Silence(Definition, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Nothing has come for so many of the device's expected intervals, and for at least so long.

    A device that is offline by its last will is silent after ``offline_for`` already, or after ``at_least`` where that
    is not said.
    """

    kinds: tuple[str, ...] = ()
    intervals: float = 3
    at_least: str = "PT5M"
    offline_for: str | None = None

    @property
    def patience_offline(self) -> str:
        """How long a device may be offline."""
        return self.at_least if self.offline_for is None else self.offline_for

    @property
    def durations(self) -> Mapping[str, str]:
        """Durations by name."""
        own = {"at_least": self.at_least, "offline_for": self.patience_offline}
        return {"lasting": self.lasting, "clear_after": self.clear_after, **own}


class Frozen(OfMetric, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The value has been exactly the same for so long; values in ``ignore`` may be."""

    unchanged: str = "PT6H"
    ignore: tuple[float, ...] = ()

    @property
    def durations(self) -> Mapping[str, str]:
        """Durations by name."""
        return {"lasting": self.lasting, "clear_after": self.clear_after, "unchanged": self.unchanged}


class Exceedance(OfMetric, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Above a limit for more than so many minutes of the last time; without minutes, its mean is above.

    ``source`` is who says that this is the limit.
    """

    above: float
    minutes: float | None = None
    within: str = "P1D"
    per: Literal["device", "district"] = "device"  # the mean of a district's devices
    source: str = ""

    @property
    def durations(self) -> Mapping[str, str]:
        """Durations by name."""
        return {"lasting": self.lasting, "clear_after": self.clear_after, "within": self.within}


class Ratio(Limited, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One metric divided by another of the same device, where that is at least so much, is beyond a limit."""

    to: str
    at_least: float = 0.0


class Aggregate(Limited, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The latest values of a district, or of the whole city, taken together, are beyond a limit."""

    of: Literal["avg", "median", "min", "max", "sum"] = "avg"
    per: Literal["district", "city"] = "district"
    at_least: int = 3  # devices, below which nothing is said


DEFINITIONS: Mapping[RuleKind, type[Definition]] = {
    RuleKind.THRESHOLD: Threshold,
    RuleKind.RATE: Rate,
    RuleKind.SILENCE: Silence,
    RuleKind.FROZEN: Frozen,
    RuleKind.EXCEEDANCE: Exceedance,
    RuleKind.RATIO: Ratio,
    RuleKind.AGGREGATE: Aggregate,
}


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """A rule; ``definition`` is of its kind."""

    name: str
    kind: RuleKind
    definition: dict[str, Any]
    severity: Literal["info", "warning", "critical"] = "warning"
    enabled: bool = True

    def understood(self) -> Definition:
        """Return what the definition says. Raises RuleError that names the member."""
        type_ = DEFINITIONS[self.kind]
        try:
            return msgspec.convert(self.definition, type_)
        except msgspec.ValidationError as error:
            raise RuleError(f"rule {self.name}: {error}{_field_hint(str(error), type_)}") from None


class RuleFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of rules."""

    rule: tuple[Rule, ...] = ()


def _field_hint(message: str, type_: type[Definition]) -> str:
    fields = {field.encode_name for of in (type_, Schedule) for field in msgspec.structs.fields(of)}
    if "unknown field" in message:
        return f"; {did_you_mean(message.split('`')[1], fields)}"
    return "; correct it there"


def check_rule(rule: Rule, catalogue: Catalogue) -> Definition:
    """Return what a rule says. Raises RuleError that names the member and what would be right."""
    where = f"rule {rule.name}"
    if not RULE_NAME.fullmatch(rule.name):
        raise RuleError(
            f'"{rule.name[:80]}" is no name of a rule: lower case letters, digits, "_", "." and "-", at most 64'
        )
    definition = rule.understood()
    _check_durations(definition, where)
    _check_names(f"{where}: districts", definition.districts, catalogue.district_of)
    if isinstance(definition, Silence):
        _check_names(f"{where}: kinds", definition.kinds, catalogue.kind_of)
        if not definition.intervals >= 1:
            raise RuleError(f"{where}: intervals {definition.intervals:g} must be 1 or more")
    if isinstance(definition, OfMetric):
        _check_metric(definition, where, catalogue)
    if isinstance(definition, Limited):
        _check_limits(definition, where)
    if isinstance(definition, Exceedance) and definition.per == "district" and definition.minutes is not None:
        raise RuleError(f"{where}: minutes are of devices; leave minutes out, or write per = device")
    if isinstance(definition, Rate) and (definition.rise is None) is (definition.fall is None):
        raise RuleError(f"{where}: give either rise or fall, in the metric's unit")
    return definition


def _check_durations(definition: Definition, where: str) -> None:
    for name, text in definition.durations.items():
        try:
            duration = parse_duration(text)
        except ValueError as error:
            raise RuleError(f"{where}: {name}: {error}") from None
        if not 0 <= duration <= _LONGEST:
            raise RuleError(f"{where}: {name} is {text}; write between PT0S and P7D")
        if name in ("within", "unchanged") and duration < 60 * SECOND:
            raise RuleError(f"{where}: {name} is {text}; write PT1M or more")
    if (schedule := definition.schedule) is None:
        return
    for name, clock in (("from", schedule.start), ("to", schedule.end)):
        if not _CLOCK.fullmatch(clock):
            raise RuleError(f'{where}: schedule.{name} "{clock[:20]}" is no time of day; write 08:00')
    try:
        zoneinfo.ZoneInfo(schedule.timezone or "UTC")
    except (KeyError, ValueError, OSError):
        raise RuleError(
            f'{where}: schedule.timezone "{str(schedule.timezone)[:80]}" is not an IANA time zone; write Asia/Almaty'
        ) from None


def _check_names(where: str, given: Collection[str], valid: Collection[str]) -> None:
    for name in given:
        if name not in valid:
            raise RuleError(f'{where}: "{name[:80]}" is not known; {did_you_mean(name, valid)}')


def _check_metric(definition: OfMetric, where: str, catalogue: Catalogue) -> None:
    _check_names(f"{where}: metric", [definition.metric], catalogue.metric_of)
    metrics = [definition.metric]
    if isinstance(definition, Ratio):
        _check_names(f"{where}: to", [definition.to], catalogue.metric_of)
        metrics.append(definition.to)
    if definition.kind is not None:
        _check_names(f"{where}: kind", [definition.kind], catalogue.kind_of)
    kinds = [catalogue.kind_of[definition.kind]] if definition.kind else catalogue.kinds
    if not any(all(metric in kind.index for metric in metrics) for kind in kinds):
        of = f"{definition.kind} does not measure" if definition.kind else "no kind measures"
        raise RuleError(f"{where}: {of} {' and '.join(metrics)}; GET /api/v1/kinds lists what each measures")


def _check_limits(definition: Limited, where: str) -> None:
    if (definition.above is None) is (definition.below is None):
        raise RuleError(f"{where}: give either above or below, in the metric's unit")
    is_beyond = (
        definition.end > definition.limit
        if definition.above is not None
        else definition.end < definition.limit
    )
    if is_beyond:
        raise RuleError(
            f"{where}: clear {definition.end:g} is beyond the limit {definition.limit:g}; "
            "it is where the value is well again"
        )


def read_rules(text: bytes, name: str) -> tuple[Rule, ...]:
    """Return the rules of a TOML file, ``[[rule]]`` after ``[[rule]]``. Raises RuleError that says what is wrong."""
    try:
        rules = msgspec.toml.decode(text, type=RuleFile).rule
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        hint = ""
        if "unknown field" in str(error):
            fields = {field.encode_name for field in msgspec.structs.fields(Rule)} | {"rule"}
            hint = f"; {did_you_mean(str(error).split('`')[1], fields)}"
        raise RuleError(f"{name}: {error}{hint or '; correct it there'}") from None
    if twice := sorted({rule.name for rule in rules if sum(rule.name == other.name for other in rules) > 1}):
        raise RuleError(f"{name}: the rule {twice[0]} is there twice; names are unique")
    return rules
