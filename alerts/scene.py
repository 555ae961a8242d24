"""What a rule's evaluation is given, and how it says what it has found."""

from __future__ import annotations

import dataclasses
import zoneinfo
from collections.abc import Mapping, Sequence

import numpy as np

from alerts.finding import Finding
from alerts.speech import Speech
from sensors.catalogue import Catalogue
from sensors.kinds import Kind, Metric
from sensors.messages import Phrase
from sensors.rules import Definition, Limited, OfMetric, Rule
from sensors.times import DAY, SECOND, parse_duration
from storage.alert_inputs import Fleet, Floats, Ints
from storage.alert_states import ActiveAlert

_MINUTE = 60 * SECOND
# A value as old as this many intervals, and this long, says nothing of now.
_FRESH_INTERVALS, _FRESH_LEAST = 3, 15 * _MINUTE


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """The city at ``now`` (Unix µs), and the alerts that there are, by fingerprint."""

    now: int
    catalogue: Catalogue
    fleet: Fleet
    active: Mapping[str, ActiveAlert]

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        """The city's zone."""
        return zoneinfo.ZoneInfo(self.catalogue.city.timezone)

    def since(self, fingerprint: str, time: int) -> int:
        """Return since when something holds, that was first seen at ``time``."""
        known = self.active.get(fingerprint)
        return time if known is None else min(known.since, time)

    def kinds(self, definition: OfMetric, *more: str) -> tuple[Kind, ...]:
        """Return the kinds that a rule is about; they have its metric, and more."""
        chosen = self.catalogue.kinds_measuring(definition.metric)
        return tuple(
            kind
            for kind in chosen
            if definition.kind in (None, kind.name) and all(name in kind.index for name in more)
        )

    def chosen(self, definition: Definition, kinds: tuple[str, ...]) -> Ints:
        """Return the places of the devices that a rule is about; no kinds are all."""
        fleet = self.fleet
        mask = np.ones(len(fleet.device), bool)
        for column, names in (
            (fleet.kind, kinds),
            (fleet.district, definition.districts),
            (fleet.device, definition.devices),
        ):
            if names:
                mask &= np.isin(column, names)
        return np.flatnonzero(mask)

    def is_fresh(self, places: Ints, time: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return of which devices a value of ``time`` says something of now."""
        patience = np.maximum(_FRESH_INTERVALS * self.fleet.interval[places], _FRESH_LEAST)
        return np.asarray(self.now - time <= patience)

    def is_recent(self, time: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return what is not so old that an alert of it is over."""
        return np.asarray(self.now - time <= DAY)


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """One rule's findings as they come."""

    rule: Rule
    definition: Definition
    scene: Scene
    findings: list[Finding] = dataclasses.field(default_factory=list)

    def about(self, place: int) -> str:
        """Return the fingerprint of a device, by its place."""
        return f"{self.rule.name}/{self.scene.fleet.device[place]}"

    def is_known(self, fingerprint: str) -> bool:
        """Return whether there is an alert of it."""
        return fingerprint in self.scene.active

    def add(
        self,
        fingerprint: str,
        title: Phrase,
        sentence: Sequence[Phrase],
        since: int,
        *,
        place: int | None = None,
        kind: str | None = None,
        district: str | None = None,
        metric: str | None = None,
        value: float | None = None,
        low: float | None = None,
        high: float | None = None,
        begins: bool = True,
        **evidence: object,
    ) -> None:
        """Add what holds of a device, by its place, or of a kind and a district."""
        fleet, definition = self.scene.fleet, self.definition
        english = Speech(self.scene.now, self.scene.zone, self.scene.catalogue)
        if place is not None:
            kind, district = str(fleet.kind[place]), str(fleet.district[place])
        self.findings.append(
            Finding(
                fingerprint=fingerprint,
                rule=self.rule.name,
                kind_of_rule=self.rule.kind.value,
                severity=self.rule.severity,
                title=english.say(title),
                sentence=english.say(*sentence),
                message={"title": title, "sentence": list(sentence)},
                device=None if place is None else str(fleet.device[place]),
                kind=kind,
                district=district,
                metric=metric,
                value=value,
                low=low,
                high=high,
                since=since,
                evidence=evidence,
                hold=parse_duration(definition.lasting),
                clear=parse_duration(definition.clear_after),
                begins=begins,
            )
        )

    def metric(self, name: str, place: int) -> Metric:
        """Return a metric as a device's kind has it, by its place."""
        return metric_of(self.scene.catalogue.kind_of[str(self.scene.fleet.kind[place])], name)


def metric_of(kind: Kind, name: str) -> Metric:
    """Return a metric as a kind has it; another may call it otherwise."""
    return kind.metrics[kind.index[name]]


def beyond(
    definition: Limited, value: Floats
) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Return which values are beyond the limit, and which keep up an alert that there is; NaN does neither."""
    if definition.above is not None:
        return np.asarray(value > definition.limit), np.asarray(value > definition.end)
    return np.asarray(value < definition.limit), np.asarray(value < definition.end)
