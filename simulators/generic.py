"""Metrics that a city file adds and no model knows: plausible values from the metric's description alone."""

from __future__ import annotations

import numpy as np

from sensors.kinds import Behaviour, Metric
from simulators.calendars import HOUR, MINUTE
from simulators.noise import Floats
from simulators.sample import Sample

_MOST_STATES = 8


def generic(metric: Metric, sample: Sample) -> Floats:
    """Return values of any metric, shape (n,), inside its plausible range."""
    if metric.behaviour == Behaviour.COUNTER:
        return _counter(metric, sample)
    if metric.behaviour == Behaviour.STATE:
        return _state(metric, sample)
    return _gauge(metric, sample)


def _gauge(metric: Metric, sample: Sample) -> Floats:
    """Stay in the lower part of the range: the plausible one is far wider than the usual values."""
    span = metric.maximum - metric.minimum
    centre = metric.minimum + span * sample.trait(f"{metric.name} centre", 0.2, 0.35)
    busy = 0.06 * (sample.field("traffic") - 0.5)
    drift = 0.03 * sample.wave(metric.name, 3 * HOUR) + 0.006 * sample.noise(metric.name, MINUTE)
    return centre + span * (busy + drift)


def _counter(metric: Metric, sample: Sample) -> Floats:
    """Count with the city's activity, slowly enough that the range lasts to the year 2100."""
    total, _ = sample.counted(metric.name, "homes", period=7 * MINUTE, roughness=0.7)
    room = metric.maximum - metric.minimum
    step = min(60.0 * metric.resolution, room / 2e6) if metric.resolution > 0 else room / 2e6
    return metric.minimum + step * sample.trait(f"{metric.name} pace", 0.5, 2.0) * total


def _state(metric: Metric, sample: Sample) -> Floats:
    """Stay in the lowest state, and now and then for two hours in another."""
    states = min((metric.maximum - metric.minimum) / max(metric.resolution, 1e-9), _MOST_STATES)
    other = 1.0 + np.floor(sample.chance(f"{metric.name} which", 2 * HOUR) * states)
    away = sample.chance(metric.name, 2 * HOUR) < 0.1
    return metric.minimum + np.where(away, np.minimum(other, states), 0.0) * metric.resolution
