"""Rules about the newest values: threshold, ratio, aggregate, silence. No query, arrays only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from alerts.scene import Report, Scene, beyond, metric_of
from alerts.words import number, quantity, span
from sensors.rules import Aggregate, Limited, Ratio, Silence, Threshold
from sensors.times import from_microseconds, parse_duration
from storage.alert_inputs import Floats, Ints

# Of more than half of so many devices that are silent, one thing is said.
_CROWD = 5
_COMBINED: dict[str, Callable[[Floats], float]] = {
    "avg": lambda values: float(values.mean()),
    "median": lambda values: float(np.median(values)),
    "min": lambda values: float(values.min()),
    "max": lambda values: float(values.max()),
    "sum": lambda values: float(values.sum()),
}
_WORDS = {"avg": "mean", "median": "median", "min": "least", "max": "greatest", "sum": "sum"}


def threshold(report: Report, definition: Threshold) -> None:
    """Report values beyond the limit."""
    scene = report.scene
    places = scene.chosen(definition, tuple(kind.name for kind in scene.kinds(definition)))
    values, times = scene.fleet.latest(definition.metric)
    side = _side(definition)
    for place, value, begins, since in _cases(report, definition, places, values[places], times[places]):
        device, metric = scene.fleet.device[place], report.metric(definition.metric, place)
        report.add(
            report.about(place),
            f"{metric.title} {side} {quantity(definition.limit, metric)}: {device}",
            f"{metric.title} of {device} is {quantity(value, metric)}, {side} the limit of "
            f"{quantity(definition.limit, metric)}, since {scene.clock(since)}.",
            since,
            place=place,
            metric=metric.name,
            value=value,
            low=definition.below,
            high=definition.above,
            begins=begins,
        )


def ratio(report: Report, definition: Ratio) -> None:
    """Report one metric divided by another, where that is beyond the limit."""
    scene = report.scene
    kinds = scene.kinds(definition, definition.to)
    places = scene.chosen(definition, tuple(kind.name for kind in kinds))
    over, over_at = (column[places] for column in scene.fleet.latest(definition.metric))
    under, under_at = (column[places] for column in scene.fleet.latest(definition.to))
    enough = (np.abs(under) >= definition.at_least) & (under != 0)
    values = np.divide(over, under, out=np.full(len(places), np.nan), where=enough)
    side = _side(definition)
    for place, value, begins, since in _cases(
        report, definition, places, values, np.minimum(over_at, under_at)
    ):
        device = scene.fleet.device[place]
        top, bottom = (report.metric(name, place) for name in (definition.metric, definition.to))
        report.add(
            report.about(place),
            f"{top.title} against {bottom.title}: {device}",
            f"{top.title} of {device} is {value:.3g} times its {bottom.title}, {side} the limit of "
            f"{definition.limit:g}, since {scene.clock(since)}.",
            since,
            place=place,
            metric=top.name,
            begins=begins,
            ratio=value,
            limit=definition.limit,
            to=bottom.name,
        )


def _cases(
    report: Report, definition: Limited, places: Ints, values: Floats, times: Ints
) -> list[tuple[int, float, bool, int]]:
    """Return place, value, whether it begins, and since when, of what is beyond or keeps up an alert."""
    scene = report.scene
    hit, kept = beyond(definition, values)
    begins = hit & scene.is_fresh(places, times)
    cases = []
    for at in np.flatnonzero((hit | kept) & scene.is_recent(times)).tolist():
        fingerprint = report.about(places[at])
        if begins[at] or report.is_known(fingerprint):
            since = scene.since(fingerprint, int(times[at]))
            cases.append((int(places[at]), float(values[at]), bool(begins[at]), since))
    return cases


def _side(definition: Limited) -> str:
    return "above" if definition.above is not None else "below"


def aggregate(report: Report, definition: Aggregate) -> None:
    """Report districts, or the city, whose devices of a kind are beyond the limit together."""
    scene = report.scene
    values, times = scene.fleet.latest(definition.metric)
    for kind in scene.kinds(definition):
        metric = metric_of(kind, definition.metric)
        places = scene.chosen(definition, (kind.name,))
        places = places[~np.isnan(values[places])]
        places = places[scene.is_fresh(places, times[places])]
        for district, group in _groups(scene, definition, places).items():
            if len(group) < definition.at_least:
                continue
            value = _COMBINED[definition.of](values[group])
            hit, kept = (bool(side[0]) for side in beyond(definition, np.array([value])))
            fingerprint = f"{report.rule.name}/{district or 'city'}/{kind.name}"
            if not (hit or (kept and report.is_known(fingerprint))):
                continue
            since = scene.since(fingerprint, int(times[group].max()))
            word, where = _WORDS[definition.of], place_of(scene, district)
            report.add(
                fingerprint,
                f"{metric.title} {_side(definition)} {quantity(definition.limit, metric)}: {where}",
                f"The {word} of {metric.title} in {where} is {quantity(value, metric)}, over {len(group)} devices, "
                f"{_side(definition)} the limit of {quantity(definition.limit, metric)}, since {scene.clock(since)}.",
                since,
                kind=kind.name,
                district=district,
                metric=metric.name,
                value=value,
                low=definition.below,
                high=definition.above,
                begins=hit,
                devices=len(group),
                least=number(float(values[group].min()), metric),
                greatest=number(float(values[group].max()), metric),
            )


def place_of(scene: Scene, district: str | None) -> str:
    """Return what people call a district, or the city."""
    if district is None:
        return "the whole city"
    known = scene.catalogue.district_of.get(district)
    return known.title if known else district


def _groups(scene: Scene, definition: Aggregate, places: Ints) -> dict[str | None, Ints]:
    if definition.per == "city":
        return {None: places}
    districts = scene.fleet.district[places]
    return {str(name): places[districts == name] for name in np.unique(districts)}


def silence(report: Report, definition: Silence) -> None:
    """Report devices that have sent nothing, or are offline by their last wills.

    Of a crowd of them one thing is said, and no alert of one of them ends.
    """
    scene, fleet = report.scene, report.scene.fleet
    places = scene.chosen(definition, definition.kinds)
    interval = fleet.interval[places]
    patience = np.maximum(definition.intervals * interval, parse_duration(definition.at_least))
    silent = scene.now - fleet.seen[places] > patience
    longest = parse_duration(definition.patience_offline)
    for at in np.flatnonzero(fleet.offline[places]).tolist():
        place = places[at]
        # Who comes and goes again without a reading between was not back: that ends no alert.
        silent[at] |= scene.now - fleet.offline[place] >= longest or report.is_known(report.about(place))
    quiet = places[silent]
    crowded = np.zeros(len(fleet.device), bool)
    whole: dict[str | None, Ints] = {None: places}
    districts = {
        str(name): places[fleet.district[places] == name] for name in np.unique(fleet.district[places])
    }
    for district, group in (whole | districts).items():
        of_group = quiet[np.isin(quiet, group)]
        if crowded[of_group].all() or len(group) < _CROWD or 2 * len(of_group) <= len(group):
            continue
        crowded[of_group] = True
        _report_crowd(report, district, len(group), of_group)
    for place in quiet.tolist():
        if not crowded[place] or report.is_known(report.about(place)):
            _report_silent(report, place, begins=not crowded[place])


def _report_silent(report: Report, place: int, *, begins: bool) -> None:
    scene, fleet = report.scene, report.scene.fleet
    device, seen, offline = fleet.device[place], int(fleet.seen[place]), int(fleet.offline[place])
    every = f"a reading is expected every {span(fleet.interval[place])}"
    if offline:
        title, since = f"Offline: {device}", scene.since(report.about(place), offline)
        sentence = (
            f"{device} went offline at {scene.clock(offline)}, said by its last will or by itself, and has sent "
            f"nothing since {scene.clock(seen)}; {every}."
        )
    else:
        title, since = f"Silent: {device}", seen
        sentence = (
            f"{device} has sent nothing since {scene.clock(seen)}, for {span(scene.now - seen)}; {every}."
        )
    said: dict[str, Any] = {"offline_since": from_microseconds(offline).isoformat()} if offline else {}
    report.add(
        report.about(place),
        title,
        sentence,
        since,
        place=place,
        begins=begins,
        expected_every_seconds=float(fleet.interval[place]) / 1e6,
        **said,
    )


def _report_crowd(report: Report, district: str | None, count: int, silent: Ints) -> None:
    scene, fleet = report.scene, report.scene.fleet
    where, since = place_of(scene, district), int(fleet.seen[silent].max())
    offline = int((fleet.offline[silent] > 0).sum())
    said = f"; offline by their last wills: {offline}" if offline else ""
    report.add(
        f"{report.rule.name}/{district or 'city'}",
        f"Most devices are silent: {where}",
        f"{len(silent)} of {count} devices of {where} have sent nothing since {scene.clock(since)}{said}. One cause is "
        "likely: power, the network, or the way to the broker.",
        since,
        district=district,
        silent=len(silent),
        offline=offline,
        devices=count,
    )
