"""An anomaly in words: what is there, what would be usual, since when, what neighbours show, how often it was so."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping

from alerts.anomaly_findings import Anomaly
from alerts.words import clock, number, quantity, span
from sensors.kinds import Behaviour, Metric

_TITLES = {
    "stuck": "{metric} stands still",
    "spike": "{metric} leapt once",
    "departure": "{metric} is far from its neighbours",
    "drift": "{metric} drifts away from its neighbours",
    "silence": "Silent",
    "event": "{metric} is unusual everywhere",
}


def title_of(anomaly: Anomaly, places: Mapping[str, str]) -> str:
    """Return a few words; ``places`` are titles of districts by name."""
    what = _TITLES[anomaly.pattern].format(metric=anomaly.metric.title if anomaly.metric else "")
    if anomaly.device is None and anomaly.pattern == "silence":
        what = "Most devices are silent" if anomaly.kind is None else f"Most of {anomaly.kind} is silent"
    elif anomaly.pattern == "event" and not anomaly.is_of_city and anomaly.metric:
        what = f"{anomaly.metric.title} is unusual"
    return f"{what}: {anomaly.device or _place(anomaly, places)}"


def sentence_of(
    anomaly: Anomaly, now: int, zone: zoneinfo.ZoneInfo, places: Mapping[str, str], times: int | None
) -> str:
    """Return the whole explanation. ``times`` is how often it was so within 30 days before, if that is known."""
    parts = [_what(anomaly, now, zone, places), _neighbours(anomaly, places)]
    if anomaly.also:
        parts.append(f"The same is true of {_listed(anomaly.also)}.")
    if times:
        parts.append(f"It was so {times} {'time' if times == 1 else 'times'} in the 30 days before.")
    return " ".join(part for part in parts if part)


def _what(anomaly: Anomaly, now: int, zone: zoneinfo.ZoneInfo, places: Mapping[str, str]) -> str:
    since = f"since {clock(anomaly.since, now, zone)}"
    if anomaly.pattern == "silence":
        waited = span(now - anomaly.since)
        if anomaly.device:
            return f"{anomaly.device} has sent nothing {since}, for {waited}."
        of_kind = f"{anomaly.kind} devices" if anomaly.kind else "devices"
        where = _place(anomaly, places)
        return f"{anomaly.unusual} of {anomaly.neighbours} {of_kind} of {where} have sent nothing {since}."
    metric = anomaly.metric
    if metric is None or anomaly.value is None:
        raise ValueError(f"a {anomaly.pattern} is of a metric and has a value")
    value = _quantity(anomaly.value, metric)
    usual = f"usual is {_band(anomaly, metric)}"
    if anomaly.pattern == "stuck":
        return f"{anomaly.device} says exactly {value} for {metric.title} {since}; now {usual}."
    if anomaly.pattern == "spike":
        return f"One reading of {metric.title} from {anomaly.device} was {value}; {usual}."
    if anomaly.pattern == "drift":
        return (
            f"{metric.title} of {anomaly.device} has moved away slowly, {since} beyond what is usual: "
            f"{value} on average, {usual}."
        )
    if anomaly.pattern == "event":
        where = _place(anomaly, places)
        return f"{metric.title} of {where} is {value} in the middle {since}; {usual}."
    return f"{metric.title} of {anomaly.device} is {value} {since}; {usual}."


def _neighbours(anomaly: Anomaly, places: Mapping[str, str]) -> str:
    count, unusual = anomaly.neighbours, anomaly.unusual
    if anomaly.device is None:
        if anomaly.pattern == "silence":
            return "One cause is likely: power, the network, or the way to us."
        return f"{unusual} of {count} {anomaly.kind} devices show it, so it is no fault of one sensor."
    if not count:
        return "There are no neighbours of its kind to compare it with."
    devices = f"{count} other {anomaly.kind} devices"
    if not unusual:
        return f"None of {devices} shows the like, so it is likely the sensor's own fault."
    return f"{unusual} of {devices} {'is' if unusual == 1 else 'are'} unusual as well."


def _quantity(value: float, metric: Metric) -> str:
    return quantity(value, metric) + ("/h" if metric.behaviour is Behaviour.COUNTER else "")


def _band(anomaly: Anomaly, metric: Metric) -> str:
    if anomaly.low is None or anomaly.high is None:
        return "not known"
    return f"{number(anomaly.low, metric)} to {_quantity(anomaly.high, metric)}"


def _place(anomaly: Anomaly, places: Mapping[str, str]) -> str:
    if anomaly.is_of_city or anomaly.district is None:
        return "the whole city"
    return places.get(anomaly.district, anomaly.district)


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
