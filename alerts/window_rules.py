"""Rules about a stretch of time: rate, frozen, exceedance. One query for each rule and kind, arrays after it."""

from __future__ import annotations

import numpy as np

from alerts import phrases
from alerts.phrases import phrase, quantity
from alerts.scene import Report, metric_of
from sensors.kinds import Kind, Metric
from sensors.messages import Argument, Phrase
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
            device, fingerprint = phrases.device(scene.fleet.device[place]), report.about(place)
            since = scene.since(fingerprint, int(course.first_at[at]))
            moved, most = (
                ("risen", definition.rise) if definition.rise is not None else ("fallen", definition.fall)
            )
            report.add(
                fingerprint,
                phrase(f"title.{moved}", metric=phrases.metric(metric), where=device),
                [
                    phrase(
                        f"text.{moved}",
                        metric=phrases.metric(metric),
                        device=device,
                        change=quantity(size, metric),
                        span=phrases.span(within),
                        value=quantity(float(course.last[at]), metric),
                        limit=quantity(most or 0.0, metric),
                        since=phrases.time(since),
                    )
                ],
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
            device, fingerprint = phrases.device(scene.fleet.device[place]), report.about(place)
            if not (same[at] and (begins or report.is_known(fingerprint))):
                continue
            since, value = scene.since(fingerprint, int(spread.first_at[at])), float(spread.low[at])
            report.add(
                fingerprint,
                phrase("title.frozen", metric=phrases.metric(metric), where=device),
                [
                    phrase(
                        "text.frozen",
                        metric=phrases.metric(metric),
                        device=device,
                        value=quantity(value, metric),
                        since=phrases.time(since),
                        span=phrases.span(scene.now - since),
                    )
                ],
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
    allowed = definition.minutes
    hit = means > definition.above if allowed is None else minutes > allowed
    for place, mean, above in zip(places[hit], means[hit].tolist(), minutes[hit].tolist(), strict=True):
        device, fingerprint = phrases.device(scene.fleet.device[place]), report.about(place)
        since = scene.since(fingerprint, scene.now)
        known = _known(definition, metric, since)
        said = (
            phrase("text.mean", device=device, value=quantity(mean, metric), **known)
            if allowed is None
            else phrase(
                "text.minutes",
                device=device,
                n=phrases.count(above),
                allowed=phrases.figure(allowed),
                **known,
            )
        )
        report.add(
            fingerprint,
            phrase("title.too_long", metric=known["metric"], limit=known["limit"], where=device),
            [said, *_source(definition)],
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
    districts = scene.fleet.district[places]
    for name in np.unique(districts).tolist():
        of_district = means[districts == name]
        mean = float(of_district.mean())
        if not mean > definition.above:
            continue
        fingerprint = f"{report.rule.name}/{name}/{kind.name}"
        since, where = scene.since(fingerprint, scene.now), phrases.district(name)
        known = _known(definition, metric, since)
        said = phrase(
            "text.mean_together",
            place=where,
            value=quantity(mean, metric),
            n=phrases.count(len(of_district)),
            **known,
        )
        report.add(
            fingerprint,
            phrase("title.too_long", metric=known["metric"], limit=known["limit"], where=where),
            [said, *_source(definition)],
            since,
            kind=kind.name,
            district=name,
            metric=metric.name,
            value=mean,
            high=definition.above,
            devices=len(of_district),
            source=definition.source,
        )


def _known(definition: Exceedance, metric: Metric, since: int) -> dict[str, Argument]:
    return {
        "metric": phrases.metric(metric),
        "limit": quantity(definition.above, metric),
        "span": phrases.span(parse_duration(definition.within)),
        "since": phrases.time(since),
    }


def _source(definition: Exceedance) -> list[Phrase]:
    return [phrase("text.source", source=phrases.source(definition.source))] if definition.source else []
