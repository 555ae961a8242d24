"""Draws what an anomaly looks like: ``python -m benchmarks.anomaly_picture docs/img/anomaly.svg``.

An air quality station of the simulated city that drifts away, as a share of what its neighbours make likely: the
hour's mean (thin), the slow mean (thick), how far that may stray (band), neighbours (grey), and when it was found.
"""

from __future__ import annotations

import pathlib
import sys
import textwrap

import numpy as np

from alerts.anomalies import Detector
from alerts.anomaly_findings import Anomaly, found
from alerts.anomaly_sentences import sentence_of
from alerts.speech import Speech
from benchmarks.alerts import START
from benchmarks.buckets import PER_DAY, Buckets, Hours
from sensors.catalogue import build_catalogue, builtin_file
from sensors.fleet import plan_fleet
from sensors.times import DAY, SECOND
from simulators.city import City
from simulators.faults import Fault
from simulators.lasting import Episode

_KIND, _METRICS, _DAYS, _SHARE = "air_quality", {"pm1", "pm2_5", "pm10", "no2"}, 30, 0.25
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 960, 380, 56, 28, 96


def _city() -> City:
    catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
    fleet = [device for device in plan_fleet(catalogue, 260, 1) if device.kind == _KIND]
    return City(catalogue, fleet, 1)


def _drift(buckets: Buckets) -> Episode:
    """Return the first drift of a metric worth a picture that begins after a few days."""
    episodes = buckets.lasting.episodes(START + 3 * DAY, START + (_DAYS - 8) * DAY)
    return next(e for e in episodes if e.metrics[0] in _METRICS and e.begin > START + 3 * DAY)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    there = ~np.isnan(y)
    return "M" + " L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x[there], y[there], strict=True))


def draw() -> str:
    """Return the picture as SVG."""
    city = _city()
    buckets, hours = Buckets(city, {Fault.CREEP: _SHARE}), Hours(Buckets(city, {}).layout)
    clean = Buckets(city, {})
    for day in range(-35, 0):
        hours.add(clean.day(START + day * DAY))
    detector = Detector(buckets.layout, hours.learn(clean), city.zone)
    episode = _drift(buckets)
    names = buckets.names
    series = next(
        place
        for place, device in enumerate(buckets.layout.device.tolist())
        if names.device[device] == episode.device and names.metric[place].name in episode.metrics
    )
    first = (episode.begin - START) // DAY - 2
    columns: list[tuple[int, float, float, float, list[float]]] = []
    seen: tuple[int, Anomaly] | None = None
    neighbours = np.flatnonzero(buckets.layout.group == buckets.layout.group[series])
    neighbours = neighbours[neighbours != series]
    for day in range(first - 1, first + 8):
        today = buckets.day(START + day * DAY)
        for place in range(PER_DAY):
            detector.step(today.bucket(place))
            for anomaly in found(detector, names) if seen is None else []:
                if (
                    anomaly.device == episode.device
                    and anomaly.metric
                    and anomaly.metric.name in episode.metrics
                ):
                    seen = (detector.time, anomaly)
            if day >= first and place % 6 == 5:
                columns.append((detector.time, *_now(detector, series), _others(detector, neighbours)))
    if seen is None:
        raise RuntimeError("the drift was not found")
    return _svg(columns, episode, seen, city)


def _now(detector: Detector, series: int) -> tuple[float, float, float]:
    """Return the slow mean's bound, the hour and the slow mean, each as a share of what neighbours make likely."""
    memory, base = detector.memory, detector.baseline
    apart = np.array([base.slow[series], memory.distance[series], memory.slow[series]])
    bound, hour, slow = np.exp(apart).tolist()  # in the logarithmic part of the scale
    return bound, hour, slow


def _others(detector: Detector, neighbours: np.ndarray) -> list[float]:
    return [_now(detector, other)[1] for other in neighbours.tolist()]


def _svg(
    columns: list[tuple[int, float, float, float, list[float]]],
    episode: Episode,
    seen: tuple[int, Anomaly],
    city: City,
) -> str:
    time = np.array([column[0] for column in columns])
    bound, hour, slow = (np.array([column[place] for column in columns]) for place in (1, 2, 3))
    others = np.array([column[4] for column in columns]).T
    least, most = 0.55, 1.75
    right, bottom = _WIDTH - 16, _HEIGHT - _BOTTOM

    def x(at: np.ndarray | int) -> np.ndarray:
        return np.asarray(_LEFT + (np.asarray(at) - time[0]) / (time[-1] - time[0]) * (right - _LEFT))

    def y(level: np.ndarray | float) -> np.ndarray:
        return np.asarray(bottom - (np.clip(level, least, most) - least) / (most - least) * (bottom - _TOP))

    band = (
        _path(np.concatenate((x(time), x(time)[::-1])), np.concatenate((y(bound), y(1 / bound)[::-1]))) + "Z"
    )
    found_at, anomaly = seen
    sentence = Speech(found_at, city.zone).say(*sentence_of(anomaly, found_at, None))
    lines = textwrap.wrap(sentence, 118)
    days = range(int(time[0] // DAY) + 1, int(time[-1] // DAY) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" font-size="13" '
        'font-family="system-ui, sans-serif">',
        f"<title>{sentence}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<path d="{band}" fill="#cfe3f5"/>',
        *(f'<path d="{_path(x(time), y(other))}" fill="none" stroke="#9aa5b1"/>' for other in others),
        f'<path d="{_path(x(time), y(hour))}" fill="none" stroke="#e08a84"/>',
        f'<path d="{_path(x(time), y(slow))}" fill="none" stroke="#b3261e" stroke-width="2.5"/>',
        *(
            f'<text x="{_LEFT - 8}" y="{y(tick / 100) + 4:.1f}" text-anchor="end" fill="#333">{tick} %</text>'
            for tick in (60, 80, 100, 120, 140, 160)
        ),
        *(
            f'<text x="{x(day * DAY - 5 * 3600 * SECOND):.1f}" y="{bottom + 18}" fill="#333">'
            f"{np.datetime64(day * DAY, 'us').astype('datetime64[D]')}</text>"
            for day in days
            if x(day * DAY) < right - 60
        ),
        *(
            f'<path d="M{x(at):.1f} {_TOP}V{bottom}" stroke="{colour}" stroke-dasharray="4 3"/>'
            f'<text x="{x(at) + 4:.1f}" y="{_TOP - 8}" fill="{colour}">{text}</text>'
            for at, colour, text in (
                (episode.begin, "#555", "it begins to drift"),
                (found_at, "#b3261e", "found"),
            )
        ),
        *(
            f'<text x="{_LEFT}" y="{bottom + 40 + 18 * number}" fill="#111">{line}</text>'
            for number, line in enumerate(lines)
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_text(draw(), "utf-8")
