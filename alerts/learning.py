"""What is usual, learned from hourly rollups of some weeks: robust, seasonal, vectorised over all devices of a kind.

Four questions are answered for each series (one metric of one device), each by its own history:

- What is it at this hour of the week? The median of the weeks, drawn to the median of the same hour on such days
  (Monday to Friday, or the weekend) as if by two more weeks: with few weeks the second decides. What all devices of
  the kind share, the weather, is taken out before.
- How far does it stray from its neighbours, at this hour of the day? The median absolute deviation (MAD). Where
  neighbours leave no less than the season does, it is held against its season alone.
- How far in the course of half a day?
- How far do its readings leap, and how long do they stand still?

Every statistic that raises an alert is computed here in the same way over the history, and the bound is a multiple
of its own MAD or of its own extreme, whichever is more: tails need not be normal, and nothing is set by hand for a
metric. Extremes are those of the median device of the kind, so that a faulty one does not set its own bound.

Values that are never negative may be compared by their ratio: y = asinh(x / knee), linear near zero and logarithmic
above, unless extremes are clearly less extreme by their difference, as which all others are compared.

Sources: median and MAD instead of mean and deviation: Leys et al., J. Exp. Soc. Psychol. 49 (2013), Hampel, JASA 69
(1974). Seasonal median with robust residuals: Hochenbaum, Vallis, Kejariwal, arXiv:1704.07706. asinh as a logarithm
through zero: Burbidge, Magee, Robb, JASA 83 (1988). Neighbours' medians: Rassam et al., Sensors 13 (2013).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from alerts.baseline import HOURS, Baseline, History, to_scale
from alerts.neighbours import FEWEST, Floats, Ints, common_of, middle, quantile
from alerts.stillness import longest_still, moves_of
from sensors.kinds import Behaviour, Metric

_MAD = 1.4826  # makes the MAD of a normal distribution its standard deviation
_TAIL = 1.645  # ... and so does the quantile 0.9, divided by this
_FEWEST_HOURS = 48  # with fewer a series is not judged
_CENTRE_WEEKS, _SPREAD_WEEKS = 2.0, 8.0  # how much the wider pool weighs, in weeks
_SLOW_HOURS = 12.0  # time constant of the slow mean that shows drift
_HELPS = 0.9  # of the residuals that neighbours have to leave, or each device is held against itself alone
_QUIET = 0.4  # of the deviation at other hours, that an hour has at least
_OWN_EXTREME = 2.5  # times the typical one, that a device's own extreme counts for at most
_SLOW_LEAST = 1.6  # deviations that the slow mean has to stray in any case
_REFERENCE_HOURS = 6  # before the present, what a change of the whole city is held against
# Multiples of MAD, and of the extreme (the 99th percentile) of the history.
# Of few series a lower one, so that an event of some hours in the history does not hide the next.
_SIGMAS, _EXTREME, _SLOW_EXTREME, _FEW_EXTREME = 7.0, 2.0, 2.0, 3.0
_COARSE_STEPS = 100
_CLEARLY = 1.15
# Units whose zero is where somebody put it, so that ratios say nothing.
_NO_ZERO = frozenset({"Cel", "[degF]", "deg", "dB", "dB[SPL]"})
# Of all hours, beyond which a gauge that stands still, such as a queue, tells too little of when it does not.
_MOSTLY = 0.75


@dataclasses.dataclass(frozen=True, slots=True)
class _Fit:
    """A metric of all devices of a kind in one scale; ``of_group`` (g, hours) and ``of_city`` are what they share."""

    knee: Floats
    floor: Floats  # (n,)
    y: Floats  # (n, hours)
    centre: Floats  # (n, 168)
    away: Floats  # (n, hours) from neighbours, or where these do not help from the season
    apart: Floats  # (n, 24)
    least: Floats  # (1, 24) floor of the median device
    tail: float
    of_group: Floats
    of_city: Floats
    together: bool


def learn(history: History, slots: Ints, district: Ints, metric: Metric) -> Baseline:
    """Return the baseline of one metric of all devices of a kind.

    ``slots`` (hours,) are the hours of the week of the history, ``district`` (n,) numbers from 0 without a gap.
    """
    knee = _knee(history.mean, metric)
    fits = [_fit(history.mean, slots, district, metric, scale) for scale in (knee, np.zeros_like(knee))]
    # By difference only where extremes are clearly less extreme so.
    fit = fits[0] if knee.any() and fits[0].tail < _CLEARLY * fits[1].tail else fits[1]
    moves = moves_of(history, slots)
    judged = np.sum(~np.isnan(fit.y), axis=1) >= _FEWEST_HOURS
    if metric.behaviour is Behaviour.GAUGE and not is_coarse(metric):
        judged &= np.sum(history.still) <= _MOSTLY * np.sum(~np.isnan(history.mean))
    slow = np.maximum(_slow_bound(fit.away, fit.floor), _SLOW_LEAST * np.median(fit.apart, axis=1))
    if is_coarse(metric):
        judged &= np.ptp(fit.centre, axis=1) >= 0.5 * np.maximum(np.ptp(np.nan_to_num(fit.y), axis=1), 1e-6)
        slow = np.full_like(slow, np.inf)
    if metric.unit == "deg":  # a direction: 359 is next to 1
        judged = np.zeros_like(judged)
    shares = bool(judged.any() and fit.together)
    column = fit.knee[:, None]
    group_bound = _group_bound(fit.of_group, slots, fit.least)
    city_bound = _city_bound(_change(fit.of_city[None, :]), slots, fit.least)
    return Baseline(
        knee=fit.knee,
        centre=fit.centre.T.copy(),
        apart=np.where(judged[:, None], fit.apart, np.float32(np.inf)).T.copy(),
        bound=np.maximum(_SIGMAS, _EXTREME * _tails(fit.away, fit.apart, slots, fit.tail)).astype(np.float32),
        slow=np.where(judged, slow, np.float32(np.inf)),
        leap_up=_leap(to_scale(history.mean + history.up, column) - fit.y, metric, fit.floor),
        leap_down=_leap(fit.y - to_scale(history.mean - history.down, column), metric, fit.floor),
        moves=moves[:, None],
        stuck=np.full(1, 1 + longest_still(history, slots, moves), np.float32),
        together=np.full(1, fit.together),
        group_bound=np.where(shares, group_bound, np.float32(np.inf)).T.copy(),
        city_bound=np.where(shares, city_bound, np.float32(np.inf)).T.copy(),
    )


def _fit(mean: Floats, slots: Ints, district: Ints, metric: Metric, knee: Floats) -> _Fit:
    y = to_scale(mean, knee[:, None])
    floor = _floor(mean, knee, metric)
    centre = seasonal(y, slots)
    residual = y - centre[:, slots]
    *_, common = _shared_by(residual, district)
    # Again without what all share: a device that missed a mild week is not cold for it.
    own = seasonal(y - common, slots)
    together = _size(y - own[:, slots] - common) < _HELPS * _size(residual)
    centre = own if together else centre
    residual = y - centre[:, slots]
    of_group, of_city, common = _shared_by(residual, district)
    away = residual - common if together else residual
    least = _floor_by_hour(mean, knee, metric, slots, floor)
    apart = _by_hour_of_day(away, slots, least)
    tail = _typical_extreme(_relative(away, apart, slots))
    least = np.median(least, axis=0, keepdims=True)
    return _Fit(knee, floor, y, centre, away, apart, least, tail, of_group, of_city, together)


def seasonal(y: Floats, slots: Ints) -> Floats:
    """Return the median (n, 168) of y (n, hours) by hour of the week, drawn to that of such days."""
    weekend = np.arange(HOURS) >= 120
    wide_of = np.arange(HOURS) % 24 + np.where(weekend, 24, 0)
    wide = _pooled(y, wide_of[slots], 48, np.zeros((len(y), 1), np.float32), weight=0.0)
    return _pooled(y, slots, HOURS, wide[:, wide_of], weight=_CENTRE_WEEKS)


def _pooled(y: Floats, slots: Ints, number: int, wider: Floats, *, weight: float) -> Floats:
    """Return the median (n, number) by slot, drawn to ``wider``; where nothing is, that or the median of all."""
    result = np.empty((len(y), number), np.float32)
    overall = np.nan_to_num(middle(y))
    for slot in range(number):
        own = y[:, slots == slot]
        prior = wider[:, slot] if wider.shape[1] > 1 else wider[:, 0]
        if not own.shape[1]:
            result[:, slot] = prior if weight else overall
            continue
        count = np.sum(~np.isnan(own), axis=1)
        median = np.nan_to_num(middle(own))
        drawn = (count * median + weight * np.nan_to_num(prior)) / np.maximum(count + weight, 1)
        result[:, slot] = np.where(count > 0, drawn, np.nan_to_num(prior) if weight else overall)
    return result


def _knee(mean: Floats, metric: Metric) -> Floats:
    """Return where the scale of each device turns logarithmic: a twentieth of its high values, 0 for none."""
    low, high = quantile(mean, 0.02), quantile(np.abs(mean), 0.9)
    by_ratio = (
        not is_coarse(metric) and metric.unit not in _NO_ZERO and bool(np.median(np.nan_to_num(low)) >= 0)
    )
    knee = np.maximum(0.05 * np.nan_to_num(high), 2 * metric.resolution)
    return np.where(by_ratio, knee, 0.0).astype(np.float32)


def _floor(mean: Floats, knee: Floats, metric: Metric) -> Floats:
    """Return the least deviation of y: what the sensor resolves, one percent, a tenth of a state."""
    usual = np.nan_to_num(middle(np.abs(mean)))
    if is_coarse(metric):
        return np.full(len(mean), 0.1 * (metric.maximum - metric.minimum), np.float32)
    by_ratio = np.maximum(metric.resolution / np.hypot(usual, np.maximum(knee, 1e-9)), 0.01)
    return np.where(knee > 0, by_ratio, metric.resolution).astype(np.float32)


def is_coarse(metric: Metric) -> bool:
    """Return whether values stand still by nature: states, percents in whole steps. They are judged by pattern."""
    steps = (metric.maximum - metric.minimum) / metric.resolution
    return metric.behaviour is Behaviour.STATE or (
        metric.behaviour is Behaviour.GAUGE and steps <= _COARSE_STEPS
    )


def _shared(residual: Floats) -> Floats:
    """Return the median (hours,) of devices (n, hours); NaN where fewer than three are there."""
    enough = np.sum(~np.isnan(residual), axis=0) >= FEWEST
    return np.where(enough, middle(residual.T), np.float32(np.nan))


def _shared_by(residual: Floats, district: Ints) -> tuple[Floats, Floats, Floats]:
    """Return what each district (g, hours), the city (hours,) and the neighbours of each device (n, hours) share."""
    groups = int(district.max(initial=-1)) + 1
    of_group = np.stack([_shared(residual[district == number]) for number in range(groups)])
    of_city = _shared(residual)
    return of_group, of_city, common_of(of_group[district], np.broadcast_to(of_city, residual.shape))


def _size(residual: Floats) -> float:
    """Return how large the residuals of the median device commonly are."""
    return float(np.median(np.nan_to_num(middle(np.abs(residual))))) if residual.size else 0.0


def _by_hour_of_day(away: Floats, slots: Ints, floor: Floats) -> Floats:
    """Return the deviation (n, 24) of distances (n, hours): by the median, or where most of them are 0 by the tail."""
    off = np.abs(away)
    by_median = _pooled(off, slots % 24, 24, middle(off)[:, None], weight=_SPREAD_WEEKS)
    apart = np.maximum(_MAD * by_median, 0.0)
    for hour in range(24):
        by_tail = np.nan_to_num(quantile(off[:, slots % 24 == hour], 0.9)) / _TAIL
        apart[:, hour] = np.maximum(apart[:, hour], by_tail)
    # An hour that was quiet for some weeks need not stay so.
    apart = np.maximum(apart, _QUIET * np.median(apart, axis=1, keepdims=True))
    result: Floats = np.maximum(apart, floor).astype(np.float32)
    return result


def _floor_by_hour(mean: Floats, knee: Floats, metric: Metric, slots: Ints, floor: Floats) -> Floats:
    """Return the least deviation (n, 24): one step of the value is more of y where the value is small.

    The step of a counter is the least that it commonly rises by in an hour: a payment, a vehicle at night.
    """
    step = np.full(len(mean), metric.resolution, np.float32)
    if metric.behaviour is Behaviour.COUNTER:
        least = quantile(np.where(mean > 0, mean, np.float32(np.nan)), 0.05)
        step = np.maximum(step, np.nan_to_num(least))
    usual = np.stack([np.nan_to_num(middle(mean[:, slots % 24 == hour])) for hour in range(24)], axis=1)
    of_step = step[:, None] / np.hypot(usual, np.maximum(knee, 1e-9)[:, None])
    by_hour: Floats = np.maximum(np.where(knee[:, None] > 0, of_step, 0.0), floor[:, None]).astype(np.float32)
    return by_hour


def _tails(away: Floats, apart: Floats, slots: Ints, typical: float) -> Floats:
    """Return each device's own extreme (n,), but no more than some times the typical one: it may be a fault."""
    own = np.nan_to_num(quantile(_relative(away, apart, slots), 0.998))
    result: Floats = np.clip(own, typical, _OWN_EXTREME * typical)
    return result


def _relative(away: Floats, apart: Floats, slots: Ints) -> Floats:
    """Return how many deviations (n, 24) each distance (n, hours) is, at its hour of the day."""
    sizes: Floats = (np.abs(away) / apart[:, slots % 24]).astype(np.float32)
    return sizes


def _typical_extreme(statistic: Floats, share: float = 0.998) -> float:
    """Return the extreme, a quantile of the hours, that the median device reaches."""
    extremes = quantile(statistic, share)
    there = extremes[np.isfinite(extremes)]
    return float(np.median(there)) if len(there) else 0.0


def _slow_bound(away: Floats, floor: Floats) -> Floats:
    """Return how far the slow mean of the distance from neighbours may stray, by its own history."""
    part = np.float32(1 - np.exp(-1 / _SLOW_HOURS))
    mean, means = np.zeros(len(away), np.float32), np.full_like(away, np.nan)
    for hour in range(away.shape[1]):
        now = away[:, hour]
        mean = np.where(np.isnan(now), mean, mean + part * (now - mean))
        means[:, hour] = mean
    size = np.abs(means)
    usual = _MAD * np.nan_to_num(middle(size))
    usual = np.maximum(usual, 0.7 * np.median(usual) if len(usual) else 0.0)
    tail = _typical_extreme(size / np.maximum(usual, floor * 0.3)[:, None])
    bound: Floats = np.maximum(max(_SIGMAS, _SLOW_EXTREME * tail) * usual, 4 * floor)
    return bound.astype(np.float32)


def _change(of_city: Floats) -> Floats:
    """Return how far each hour (1, hours) lies from the median of the hours before it."""
    hours = of_city.shape[1]
    before = np.stack([np.roll(of_city[0], shift) for shift in range(1, _REFERENCE_HOURS + 1)], axis=1)
    change = of_city - middle(before)[None, :]
    change[:, : min(_REFERENCE_HOURS, hours)] = np.nan
    return change


def _group_bound(of_group: Floats, slots: Ints, floor: Floats) -> Floats:
    """Return how far each district (g, hours) may stray from the median of the others, (g, 24)."""
    stray = np.full_like(of_group, np.nan)
    for place in range(len(of_group)):
        rest = np.delete(of_group, place, axis=0)
        if len(rest):
            stray[place] = of_group[place] - middle(rest.T)
    apart = _by_hour_of_day(stray, slots, floor)
    tail = _typical_extreme(_relative(stray, apart, slots), 0.98)
    there = ~np.all(np.isnan(stray), axis=1)
    return np.where(there[:, None], max(_SIGMAS, _FEW_EXTREME * tail) * apart, np.inf).astype(np.float32)


def _city_bound(change: Floats, slots: Ints, floor: Floats) -> Floats:
    """Return how far the city (1, hours) may move within hours, (1, 24)."""
    apart = _by_hour_of_day(change, slots, floor)
    tail = _typical_extreme(_relative(change, apart, slots), 0.98)
    return (max(_SIGMAS, _FEW_EXTREME * tail) * apart).astype(np.float32)


def _leap(excess: Floats, metric: Metric, floor: Floats) -> Floats:
    """Return how far a reading may lie from the others: half as much again as it nearly ever did."""
    if metric.behaviour is not Behaviour.GAUGE or is_coarse(metric) or metric.unit == "deg":
        return np.full(len(excess), np.inf, np.float32)
    usual = quantile(excess, 0.995)
    # A device that leapt in its history is held against the others of its kind.
    typical = np.nanmedian(usual) if np.any(np.isfinite(usual)) else np.inf
    bound = np.where(np.isfinite(usual), np.minimum(usual, 3 * typical), np.inf)
    return np.maximum(_EXTREME * bound, 10 * floor).astype(np.float32)
