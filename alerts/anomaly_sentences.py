"""An anomaly in words: what is there, what would be usual, since when, what neighbours show, how often it was so."""

from __future__ import annotations

from alerts import phrases
from alerts.anomaly_findings import Anomaly
from alerts.phrases import phrase
from sensors.kinds import Behaviour, Metric
from sensors.messages import Argument, Number, Phrase

_TITLES = {"stuck": "frozen", "event": "unusual"}


def title_of(anomaly: Anomaly) -> Phrase:
    """Return a few words."""
    where = phrases.device(anomaly.device) if anomaly.device else _place(anomaly)
    if anomaly.metric is not None:
        key = _TITLES.get(anomaly.pattern, anomaly.pattern)
        return phrase(f"title.{key}", metric=phrases.metric(anomaly.metric), where=where)
    if anomaly.device:
        return phrase("title.silent", where=where)
    if anomaly.kind is None:
        return phrase("title.crowd_silent", where=where)
    return phrase("title.kind_silent", kind=phrases.kind(anomaly.kind), where=where)


def sentence_of(anomaly: Anomaly, now: int, times: int | None) -> list[Phrase]:
    """Return the whole explanation. ``times`` is how often it was so within 30 days before, if that is known."""
    said = [*_what(anomaly, now), _neighbours(anomaly)]
    if anomaly.also:
        said.append(phrase("text.also", metrics=phrases.metrics(anomaly.also)))
    if times:
        said.append(phrase("text.times", n=phrases.count(times)))
    return said


def _what(anomaly: Anomaly, now: int) -> list[Phrase]:
    since, span = phrases.time(anomaly.since), phrases.span(now - anomaly.since)
    if anomaly.pattern == "silence":
        if anomaly.device:
            return [phrase("text.silent", device=phrases.device(anomaly.device), since=since, span=span)]
        return [_crowd(anomaly, since=since)]
    metric = anomaly.metric
    if metric is None or anomaly.value is None:
        raise ValueError(f"a {anomaly.pattern} is of a metric and has a value")
    said: dict[str, Argument] = {
        "metric": phrases.metric(metric),
        "value": _quantity(anomaly.value, metric),
        "since": since,
    }
    if anomaly.device is None:
        what = phrase("text.event", place=_place(anomaly), **said)
    else:
        said["device"] = phrases.device(anomaly.device)
        if anomaly.pattern == "stuck":
            what = phrase("text.frozen", span=span, **said)
        elif anomaly.pattern == "spike":
            del said["since"]  # it is over already
            what = phrase("text.spike", **said)
        else:
            what = phrase(f"text.{anomaly.pattern}", **said)
    return [what, _usual(anomaly, metric)]


def _crowd(anomaly: Anomaly, **since: Argument) -> Phrase:
    counts = {"n": phrases.count(anomaly.unusual), "all": phrases.count(anomaly.neighbours)}
    place = _place(anomaly)
    if anomaly.kind is None:
        return phrase("text.crowd_silent", place=place, **counts, **since)
    return phrase("text.kind_silent", kind=phrases.kind(anomaly.kind), place=place, **counts, **since)


def _usual(anomaly: Anomaly, metric: Metric) -> Phrase:
    if anomaly.low is None or anomaly.high is None:
        return phrase("text.usual_unknown")
    return phrase("text.usual", low=phrases.bare(anomaly.low, metric), high=_quantity(anomaly.high, metric))


def _neighbours(anomaly: Anomaly) -> Phrase:
    count, unusual = phrases.count(anomaly.neighbours), phrases.count(anomaly.unusual)
    if anomaly.device is None and anomaly.pattern == "silence":
        return phrase("text.one_cause")
    if not anomaly.neighbours:
        return phrase("text.no_neighbours")
    kind = phrases.kind(anomaly.kind or "")
    if anomaly.device is None:
        return phrase("text.event_neighbours", n=unusual, all=count, kind=kind)
    if not anomaly.unusual:
        return phrase("text.usual_neighbours", n=count, kind=kind)
    return phrase("text.unusual_neighbours", n=unusual, all=count, kind=kind)


def _quantity(value: float, metric: Metric) -> Number:
    of = phrases.hourly if metric.behaviour is Behaviour.COUNTER else phrases.quantity
    return of(value, metric)


def _place(anomaly: Anomaly) -> Argument:
    return phrases.district(None if anomaly.is_of_city else anomaly.district)
