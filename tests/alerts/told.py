"""Every phrase that an alert may say, with an example and its English; at ``NOON``, which is 17:00 in Alatau."""

from __future__ import annotations

from alerts import phrases
from alerts.phrases import phrase
from sensors.kinds import Behaviour, Metric
from sensors.messages import Argument, Phrase
from sensors.times import DAY, SECOND, to_microseconds
from tests.api.answers import NOW

MINUTE = 60 * SECOND
NOON = to_microseconds(NOW)
PM = Metric("pm2_5", "PM2.5", "ug/m3", 0, 2000, 0.1)
HEAT = Metric("temperature", "Air temperature", "Cel", -60, 60, 0.1)
WATER = Metric("volume", "Volume", "m3", 0, 1e9, 0.001, Behaviour.COUNTER)
POWER = Metric("power", "Active power", "kW", 0, 1e6, 0.01)
CURRENT = Metric("current", "Current", "A", 0, 1e4, 0.1)

_DEVICE, _PM, _GATE = phrases.device("air-1"), phrases.metric(PM), phrases.district("gate")
_SINCE, _CITY = phrases.time(NOON - 2 * MINUTE), phrases.district(None)
_AIR = phrases.kind("air_quality")
_VALUE, _LIMIT = phrases.quantity(163.24, PM), phrases.quantity(150, PM)
_OF: dict[str, Argument] = {"metric": _PM, "device": _DEVICE}
_BEYOND: dict[str, Argument] = {"value": _VALUE, "limit": _LIMIT, "since": _SINCE}
_HIGH: dict[str, Argument] = {"metric": _PM, "limit": _LIMIT, "where": _DEVICE}
_WHERE: dict[str, Argument] = {"metric": _PM, "where": _DEVICE}
_RATIO: dict[str, Argument] = {
    "metric": phrases.metric(POWER),
    "other": phrases.metric(CURRENT),
    "device": phrases.device("meter-1"),
    "value": phrases.figure(0.30001, 3),
    "limit": phrases.figure(0.5),
    "since": _SINCE,
}
_CHANGE: dict[str, Argument] = {"change": phrases.quantity(13.2, PM), "span": phrases.span(70 * MINUTE)}
_SHARES: dict[str, Argument] = {"share": phrases.share(0.62), "usual": phrases.share(0.99), "since": _SINCE}
_DAY: dict[str, Argument] = {"span": phrases.span(DAY)}
_HOURS: dict[str, Argument] = {"span": phrases.span(5.5 * 60 * MINUTE)}


def _together(n: int) -> dict[str, Argument]:
    return {"place": _GATE, "n": phrases.count(n), "metric": _PM, **_BEYOND}


def _some(n: int, many: int, **more: Argument) -> dict[str, Argument]:
    return {"n": phrases.count(n), "all": phrases.count(many), **more}


EXAMPLES: list[tuple[Phrase, str]] = [
    (phrase("title.above", **_HIGH), "PM2.5 above 150.0 µg/m³: air-1"),
    (phrase("title.below", **_HIGH), "PM2.5 below 150.0 µg/m³: air-1"),
    (
        phrase("title.too_long", **_HIGH | {"where": _GATE}),
        "PM2.5 above 150.0 µg/m³ for too long: Gate District",
    ),
    (
        phrase("title.ratio", metric=_RATIO["metric"], other=_RATIO["other"], where=_RATIO["device"]),
        "Power against Current: meter-1",
    ),
    (phrase("title.risen", **_WHERE), "PM2.5 has risen fast: air-1"),
    (phrase("title.fallen", **_WHERE), "PM2.5 has fallen fast: air-1"),
    (phrase("title.frozen", **_WHERE), "PM2.5 stands still: air-1"),
    (phrase("title.spike", **_WHERE), "PM2.5 leapt once: air-1"),
    (phrase("title.departure", **_WHERE), "PM2.5 is far from its neighbours: air-1"),
    (phrase("title.drift", **_WHERE), "PM2.5 drifts away from its neighbours: air-1"),
    (phrase("title.unusual", **_WHERE | {"where": _CITY}), "PM2.5 is unusual: the whole city"),
    (phrase("title.silent", where=_DEVICE), "Silent: air-1"),
    (phrase("title.crowd_silent", where=_CITY), "Most devices are silent: the whole city"),
    (
        phrase("title.kind_silent", kind=_AIR, where=_GATE),
        "Most devices are silent (Air quality station): Gate District",
    ),
    (
        phrase("text.above", **_OF, **_BEYOND),
        "PM2.5 of air-1 is 163.2 µg/m³, above the limit of 150.0 µg/m³, since 16:58.",
    ),
    (
        phrase("text.below", **_OF, **_BEYOND),
        "PM2.5 of air-1 is 163.2 µg/m³, below the limit of 150.0 µg/m³, since 16:58.",
    ),
    (
        phrase("text.ratio_above", **_RATIO),
        "Power of meter-1 is 0.3 times its Current, above the limit of 0.5, since 16:58.",
    ),
    (
        phrase("text.ratio_below", **_RATIO),
        "Power of meter-1 is 0.3 times its Current, below the limit of 0.5, since 16:58.",
    ),
    *(
        (
            phrase(f"text.together_{side}", aggregate=phrases.aggregate(name), **_together(n)),
            f"The {said} of PM2.5 in Gate District is 163.2 µg/m³, over {n} device{'s' * (n > 1)}, {side} the limit of "
            "150.0 µg/m³, since 16:58.",
        )
        for side in ("above", "below")
        for n, name, said in (
            (1, "avg", "average"),
            (2, "median", "median"),
            (5, "min", "lowest"),
            (11, "max", "highest"),
            (21, "sum", "sum"),
        )
    ),
    (
        phrase("text.mean", **_OF, **_BEYOND, **_DAY),
        "The mean of PM2.5 of air-1 over 1 day is 163.2 µg/m³, above the limit of 150.0 µg/m³, since 16:58.",
    ),
    *(
        (
            phrase("text.mean_together", **_together(n), **_DAY),
            f"The mean of PM2.5 in Gate District over 1 day is 163.2 µg/m³, over {said}, above the limit of 150.0 µg/m³"
            ", since 16:58.",
        )
        for n, said in ((1, "1 device"), (4, "4 devices"), (1040, "1,040 devices"))
    ),
    *(
        (
            phrase(
                "text.minutes",
                **_OF,
                **_DAY,
                n=phrases.count(n),
                limit=_LIMIT,
                allowed=phrases.figure(0.5),
                since=_SINCE,
            ),
            f"PM2.5 of air-1 was above 150.0 µg/m³ for {said} of the last 1 day, more than the 0.5 that are allowed, "
            "since 16:58.",
        )
        for n, said in ((1, "1 minute"), (62, "62 minutes"))
    ),
    (phrase("text.source", source=phrases.source("a law")), "The limit is that of: a law."),
    (
        phrase("text.risen", **_OF, **_BEYOND, **_CHANGE),
        "PM2.5 of air-1 has risen by 13.2 µg/m³ within 70 minutes, to 163.2 µg/m³; the limit is 150.0 µg/m³, "
        "since 16:58.",
    ),
    (
        phrase("text.fallen", **_OF, **_BEYOND, **_CHANGE),
        "PM2.5 of air-1 has fallen by 13.2 µg/m³ within 70 minutes, to 163.2 µg/m³; the limit is 150.0 µg/m³, "
        "since 16:58.",
    ),
    (
        phrase(
            "text.frozen",
            metric=phrases.metric(HEAT),
            device=_DEVICE,
            value=phrases.quantity(-4.5, HEAT),
            since=phrases.time(NOON - 330 * MINUTE),
            **_HOURS,
        ),
        "Air temperature of air-1 has been exactly -4.5 °C since 11:30, for 5 hours.",
    ),
    (
        phrase("text.silent", device=_DEVICE, since=phrases.time(NOON - 3 * DAY), span=phrases.span(3 * DAY)),
        "air-1 has sent nothing since 12 Jan, 17:00, for 3 days.",
    ),
    (
        phrase("text.expected_every", span=phrases.span(30 * SECOND)),
        "A reading is expected every 30 seconds.",
    ),
    *(
        (
            phrase("text.crowd_silent", **_some(n, 1040, place=_CITY, since=_SINCE)),
            f"{n} of 1,040 devices of the whole city {said} sent nothing since 16:58.",
        )
        for n, said in ((1, "has"), (3, "have"), (700, "have"))
    ),
    *(
        (
            phrase("text.kind_silent", **_some(n, 21, place=_GATE, since=_SINCE, kind=_AIR)),
            f"{n} of 21 devices (Air quality station) of Gate District {said} sent nothing since 16:58.",
        )
        for n, said in ((1, "has"), (3, "have"), (20, "have"))
    ),
    (phrase("title.completeness", where=_DEVICE), "Fewer readings arrive: air-1"),
    (phrase("title.refused", where=_GATE), "Readings are refused: Gate District"),
    (
        phrase("text.completeness", device=_DEVICE, **_SHARES),
        "air-1 delivers 62 % of its expected readings since 16:58, 99 % in the weeks before.",
    ),
    (
        phrase("text.refused", device=_DEVICE, **_SHARES),
        "Of what air-1 sends 62 % is refused since 16:58, 99 % in the weeks before.",
    ),
    *(
        (
            phrase(f"text.{pattern}_{of}", **_some(n, 12, place=_GATE, **_SHARES, **more)),
            f"{begins}{n} of 12 devices{said} of Gate District {verb}{'' if n > 1 else 's'} 62 % "
            f"{ends[n > 1]} since 16:58, 99 % in the weeks before.",
        )
        for pattern, begins, verb, ends in (
            ("completeness", "", "deliver", ("of its expected readings", "of their expected readings")),
            ("refused", "Of what ", "send", ("is refused", "is refused")),
        )
        for of, said, more in (("many", "", {}), ("kind", " (Air quality station)", {"kind": _AIR}))
        for n in (1, 9)
    ),
    (phrase("text.mostly", reason=phrases.reason("out_of_range")), "Mostly: Out of range."),
    (phrase("text.cause_refused"), "One cause is likely: new firmware, or their clocks."),
    (phrase("text.cause_completeness"), "One cause is likely: the network, or the way to the broker."),
    (phrase("title.offline", where=_DEVICE), "Offline: air-1"),
    (
        phrase("text.offline", device=_DEVICE, time=_SINCE),
        "air-1 went offline at 16:58, said by its last will or by itself.",
    ),
    (phrase("text.crowd_offline", all=phrases.count(1200)), "Offline by their last wills: 1,200."),
    (phrase("text.one_cause"), "One cause is likely: power, the network, or the way to the broker."),
    (
        phrase("text.departure", **_OF, value=_VALUE, since=phrases.time(NOON - 200 * DAY)),
        "PM2.5 of air-1 is 163.2 µg/m³ since 29 Jun 2025, 17:00.",
    ),
    (
        phrase("text.drift", **_OF, value=_VALUE, since=_SINCE),
        "PM2.5 of air-1 has moved away slowly: 163.2 µg/m³ on average, beyond what is usual since 16:58.",
    ),
    (phrase("text.spike", **_OF, value=_VALUE), "One reading of PM2.5 from air-1 was 163.2 µg/m³."),
    (
        phrase(
            "text.event",
            metric=phrases.metric(WATER),
            place=_GATE,
            value=phrases.hourly(1234.5678, WATER),
            since=_SINCE,
        ),
        "The median of Volume in Gate District is 1,235 m³/h since 16:58.",
    ),
    (
        phrase("text.usual", low=phrases.bare(3.04, WATER), high=phrases.hourly(41, WATER)),
        "Usual is 3.040 to 41.000 m³/h.",
    ),
    (phrase("text.usual_unknown"), "What is usual is not known."),
    (phrase("text.no_neighbours"), "There are no neighbours of its kind to compare it with."),
    *(
        (
            phrase("text.usual_neighbours", n=phrases.count(n), kind=_AIR),
            f"{said}, so it is likely the sensor's own fault.",
        )
        for n, said in (
            (1, "The only other device of its kind (Air quality station) shows nothing like it"),
            (3, "None of 3 other devices (Air quality station) shows the like"),
        )
    ),
    *(
        (
            phrase("text.unusual_neighbours", **_some(n, 5, kind=_AIR)),
            f"{n} of 5 other devices (Air quality station) {said} unusual as well.",
        )
        for n, said in ((1, "is"), (2, "are"))
    ),
    *(
        (
            phrase("text.event_neighbours", **_some(n, 5, kind=_AIR)),
            f"{n} of 5 devices (Air quality station) {said} it, so it is no fault of one sensor.",
        )
        for n, said in ((1, "shows"), (4, "show"))
    ),
    (
        phrase("text.also", metrics=phrases.metrics(["pm10", "no2"])),
        "The same is true of PM10, Nitrogen dioxide.",
    ),
    *(
        (
            phrase("text.times", n=phrases.count(n)),
            f"It was so {n} time{'s' * (n > 1)} in the 30 days before.",
        )
        for n in (1, 2, 5, 21)
    ),
    (phrase("text.over", time=_SINCE), "It is over since 16:58. It was:"),
]
