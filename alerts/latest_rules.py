"""Rules about the newest values: threshold, ratio, aggregate, silence. No query, arrays only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from alerts import phrases
from alerts.phrases import phrase, quantity
from alerts.scene import Report, Scene, beyond, metric_of
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


def threshold(report: Report, definition: Threshold) -> None:
    """Report values beyond the limit."""
    scene = report.scene
    places = scene.chosen(definition, tuple(kind.name for kind in scene.kinds(definition)))
    values, times = scene.fleet.latest(definition.metric)
    side = _side(definition)
    for place, value, begins, since in _cases(report, definition, places, values[places], times[places]):
        device, metric = phrases.device(scene.fleet.device[place]), report.metric(definition.metric, place)
        name, limit = phrases.metric(metric), quantity(definition.limit, metric)
        report.add(
            report.about(place),
            phrase(f"title.{side}", metric=name, limit=limit, where=device),
            [
                phrase(
                    f"text.{side}",
                    metric=name,
                    device=device,
                    value=quantity(value, metric),
                    limit=limit,
                    since=phrases.time(since),
                )
            ],
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
        device = phrases.device(scene.fleet.device[place])
        top, bottom = (report.metric(name, place) for name in (definition.metric, definition.to))
        names = {"metric": phrases.metric(top), "other": phrases.metric(bottom)}
        report.add(
            report.about(place),
            phrase("title.ratio", where=device, **names),
            [
                phrase(
                    f"text.ratio_{side}",
                    device=device,
                    value=phrases.figure(value, 3),
                    limit=phrases.figure(definition.limit),
                    since=phrases.time(since),
                    **names,
                )
            ],
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
            where, name, limit = (
                phrases.district(district),
                phrases.metric(metric),
                quantity(definition.limit, metric),
            )
            report.add(
                fingerprint,
                phrase(f"title.{_side(definition)}", metric=name, limit=limit, where=where),
                [
                    phrase(
                        f"text.together_{_side(definition)}",
                        aggregate=phrases.aggregate(definition.of),
                        metric=name,
                        place=where,
                        value=quantity(value, metric),
                        n=phrases.count(len(group)),
                        limit=limit,
                        since=phrases.time(since),
                    )
                ],
                since,
                kind=kind.name,
                district=district,
                metric=metric.name,
                value=value,
                low=definition.below,
                high=definition.above,
                begins=hit,
                devices=len(group),
                least=phrases.bare(float(values[group].min()), metric)["value"],
                greatest=phrases.bare(float(values[group].max()), metric)["value"],
            )


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
    device, since = phrases.device(fleet.device[place]), int(fleet.seen[place])
    title = phrase("title.silent", where=device)
    sentence = [
        phrase("text.silent", device=device, since=phrases.time(since), span=phrases.span(scene.now - since)),
        phrase("text.expected_every", span=phrases.span(fleet.interval[place])),
    ]
    said: dict[str, Any] = {}
    if offline := int(fleet.offline[place]):
        title = phrase("title.offline", where=device)
        sentence.insert(0, phrase("text.offline", device=device, time=phrases.time(offline)))
        since = scene.since(report.about(place), offline)
        said = {"offline_since": from_microseconds(offline).isoformat()}
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
    fleet, where = report.scene.fleet, phrases.district(district)
    since, offline = int(fleet.seen[silent].max()), int((fleet.offline[silent] > 0).sum())
    report.add(
        f"{report.rule.name}/{district or 'city'}",
        phrase("title.crowd_silent", where=where),
        [
            phrase(
                "text.crowd_silent",
                n=phrases.count(len(silent)),
                all=phrases.count(count),
                place=where,
                since=phrases.time(since),
            ),
            *([phrase("text.crowd_offline", all=phrases.count(offline))] if offline else []),
            phrase("text.one_cause"),
        ],
        since,
        district=district,
        silent=len(silent),
        offline=offline,
        devices=count,
    )
