"""Rules about a stretch of time: rate, frozen, exceedance. One query for each rule and kind, arrays after it."""

from __future__ import annotations

import numpy as np

from alerts.latest_rules import place_of
from alerts.scene import Report, metric_of
from alerts.words import quantity, span
from sensors.kinds import Kind
from sensors.rules import Exceedance, Frozen, Rate
from sensors.times import SECOND, parse_duration
from storage.alert_inputs import Floats, Ints, read_course, read_excess, read_spread
from storage.kinds import Connection

_BUCKET = 300 * SECOND
_LEAST_READINGS = 5  # of which a value can be called frozen
_NEARLY = 0.9  # of the time must be covered by readings
# Of a mean, so much of the time. Source: Directive (EU) 2024/2881, Annex V: 75 % of the hours of a day.
_VALID = 0.75


async def rate(report: Report, definition: Rate, connection: Connection) -> None:
    """Report values that have risen or fallen too fast."""
    scene = report.scene
    within = parse_duration(definition.within)
    for kind in scene.kinds(definition):
        metric = metric_of(kind, definition.metric)
        course = await read_course(connection, kind, metric.name, scene.now - within, scene.now + 1)
        change = course.last - course.first
        hit = change > definition.rise if definition.rise is not None else -change > (definition.fall or 0.0)
        for at, place in zip(*_within(report, kind, course.number), strict=True):
            if not hit[at]:
                continue
            size = float(abs(change[at]))
            device, fingerprint = scene.fleet.device[place], report.about(place)
            since = scene.since(fingerprint, int(course.first_at[at]))
            moved, most = (
                ("risen", definition.rise) if definition.rise is not None else ("fallen", definition.fall)
            )
            report.add(
                fingerprint,
                f"{metric.title} has {moved} fast: {device}",
                f"{metric.title} of {device} has {moved} by {quantity(size, metric)} within {span(within)}, to "
                f"{quantity(float(course.last[at]), metric)}; the limit is {quantity(most or 0.0, metric)}, "
                f"since {scene.clock(since)}.",
                since,
                place=place,
                metric=metric.name,
                value=float(course.last[at]),
                change=float(change[at]),
                limit=most,
            )


def _within(report: Report, kind: Kind, numbers: Ints) -> tuple[Ints, Ints]:
    """Return which rows are of devices that the rule is about, and the places of these."""
    places = report.scene.fleet.places(numbers)
    rows = np.flatnonzero(np.isin(places, report.scene.chosen(report.definition, (kind.name,))))
    return rows, places[rows]


async def frozen(report: Report, definition: Frozen, connection: Connection) -> None:
    """Report values that do not move."""
    scene = report.scene
    unchanged = parse_duration(definition.unchanged)
    start = (scene.now - unchanged) // _BUCKET * _BUCKET
    for kind in scene.kinds(definition):
        metric = metric_of(kind, definition.metric)
        spread = await read_spread(connection, kind, metric.name, start, scene.now)
        same = (spread.low == spread.high) & ~np.isin(spread.low, definition.ignore)
        same &= (spread.count >= _LEAST_READINGS) & (scene.now - spread.first_at >= _NEARLY * unchanged)
        rows, places = _within(report, kind, spread.number)
        fresh = scene.is_fresh(places, spread.last_at[rows])
        for at, place, begins in zip(rows, places, fresh.tolist(), strict=True):
            device, fingerprint = scene.fleet.device[place], report.about(place)
            if not (same[at] and (begins or report.is_known(fingerprint))):
                continue
            since, value = scene.since(fingerprint, int(spread.first_at[at])), float(spread.low[at])
            report.add(
                fingerprint,
                f"{metric.title} stands still: {device}",
                f"{metric.title} of {device} has been exactly {quantity(value, metric)} since {scene.clock(since)}, "
                f"for {span(scene.now - since)}.",
                since,
                place=place,
                metric=metric.name,
                value=value,
                begins=begins,
                readings=int(spread.count[at]),
            )


async def exceedance(report: Report, definition: Exceedance, connection: Connection) -> None:
    """Report devices, or districts, that were above a limit for too long, or on the mean."""
    scene = report.scene
    within = parse_duration(definition.within)
    start = (scene.now - within) // _BUCKET * _BUCKET
    for kind in scene.kinds(definition):
        excess = await read_excess(
            connection, kind, definition.metric, definition.above, start, start + within
        )
        rows, places = _within(report, kind, excess.number)
        # A reading stands for its interval, where that is longer than a bucket.
        width = np.maximum(_BUCKET, scene.fleet.interval[places])
        if definition.minutes is None:
            valid = excess.buckets[rows] * width >= _VALID * within
            rows, places, width = rows[valid], places[valid], width[valid]
        if definition.per == "device":
            minutes = excess.above[rows] * width / (60 * SECOND)
            _devices(report, definition, kind, places, excess.mean[rows], minutes)
        else:
            _districts(report, definition, kind, places, excess.mean[rows])


def _devices(
    report: Report, definition: Exceedance, kind: Kind, places: Ints, means: Floats, minutes: Floats
) -> None:
    scene, metric = report.scene, metric_of(kind, definition.metric)
    within, limit = parse_duration(definition.within), quantity(definition.above, metric)
    allowed = definition.minutes
    hit = means > definition.above if allowed is None else minutes > allowed
    for place, mean, above in zip(places[hit], means[hit].tolist(), minutes[hit].tolist(), strict=True):
        device, fingerprint = scene.fleet.device[place], report.about(place)
        since = scene.since(fingerprint, scene.now)
        said = (
            f"The mean of {metric.title} of {device} over {span(within)} is {quantity(mean, metric)}, above the limit "
            f"of {limit}{_by(definition)}"
            if allowed is None
            else f"{metric.title} of {device} was above {limit} for {above:.0f} minutes of the last {span(within)}, "
            f"more than the {allowed:g} that are allowed{_by(definition)}"
        )
        report.add(
            fingerprint,
            f"{metric.title} above {limit} for too long: {device}",
            f"{said}, since {scene.clock(since)}.",
            since,
            place=place,
            metric=metric.name,
            value=mean,
            high=definition.above,
            minutes_above=above,
            source=definition.source,
        )


def _districts(report: Report, definition: Exceedance, kind: Kind, places: Ints, means: Floats) -> None:
    scene, metric = report.scene, metric_of(kind, definition.metric)
    within, limit = parse_duration(definition.within), quantity(definition.above, metric)
    districts = scene.fleet.district[places]
    for name in np.unique(districts).tolist():
        of_district = means[districts == name]
        mean = float(of_district.mean())
        if not mean > definition.above:
            continue
        fingerprint = f"{report.rule.name}/{name}/{kind.name}"
        since, where = scene.since(fingerprint, scene.now), place_of(scene, name)
        report.add(
            fingerprint,
            f"{metric.title} above {limit} for too long: {where}",
            f"The mean of {metric.title} in {where} over {span(within)} is {quantity(mean, metric)}, over "
            f"{len(of_district)} devices, above the limit of {limit}{_by(definition)}, since {scene.clock(since)}.",
            since,
            kind=kind.name,
            district=name,
            metric=metric.name,
            value=mean,
            high=definition.above,
            devices=len(of_district),
            source=definition.source,
        )


def _by(definition: Exceedance) -> str:
    return f" ({definition.source})" if definition.source else ""
