"""What is usual of each series, and the scale in which that is said; how it is learned is in ``learning.py``."""

from __future__ import annotations

import dataclasses
import datetime as dt
import zoneinfo

import numpy as np
import numpy.typing as npt

from alerts.neighbours import Floats, Ints

HOURS = 168
WEEKS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """Hours of one metric of one kind, each array of shape (n devices, hours), NaN where nothing came.

    ``mean`` is in the metric's unit, of a counter its rise in an hour. ``up`` and ``down`` are how far the
    highest and lowest reading lie from the mean; ``still`` says that all readings of the hour were the same.
    """

    mean: Floats
    up: Floats
    down: Floats
    still: npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class Baseline:
    """What is usual of s series in g groups (district, kind, metric) of c cities (kind, metric).

    Times run along the first axis, so that one hour lies together. All but ``knee`` are in the scale of y.
    """

    knee: Floats  # (s,) in the unit; 0: compared by difference
    centre: Floats  # (168, s) median of y by hour of the week, Monday 0:00 first
    apart: Floats  # (24, s) deviation from neighbours by hour of the day; inf: not judged
    bound: Floats  # (s,) how many of those are unusual
    slow: Floats  # (s,) how far the slow mean may stray from neighbours; inf: not judged
    leap_up: Floats  # (s,) how far one reading may leap from the others
    leap_down: Floats
    moves: npt.NDArray[
        np.bool_
    ]  # (168, c) hours of the week at which values change, on all devices of the kind
    stuck: Floats  # (c,) hours of one value, of such hours, that are too many
    together: npt.NDArray[np.bool_]  # (c,) whether devices move together, so that neighbours say something
    group_bound: Floats  # (24, g) how far a district may stray from the others, by hour of the day
    city_bound: Floats  # (24, c) how far the whole city may move against the last hours

    @classmethod
    def unknown(cls, series: int, groups: int) -> Baseline:
        """Return the baseline of one metric of which nothing is known: none of its series is judged."""

        def filled(value: float, *shape: int) -> Floats:
            return np.full(shape, value, np.float32)

        return cls(
            knee=filled(0, series),
            centre=filled(0, HOURS, series),
            apart=filled(np.inf, 24, series),
            bound=filled(1, series),
            slow=filled(np.inf, series),
            leap_up=filled(np.inf, series),
            leap_down=filled(np.inf, series),
            moves=np.zeros((HOURS, 1), np.bool_),
            stuck=filled(np.inf, 1),
            together=np.zeros(1, np.bool_),
            group_bound=filled(np.inf, 24, groups),
            city_bound=filled(np.inf, 24, 1),
        )

    def carried(self, series: Ints, groups: Ints) -> Baseline:
        """Return it for other series and groups; each number is its place here, -1 of one that was not here."""
        padded = Baseline.joined([self, Baseline.unknown(1, 1)])  # so that -1 is what is not known
        of_city = {name: getattr(self, name) for name in ("moves", "stuck", "together", "city_bound")}
        of_series = [f.name for f in dataclasses.fields(self) if f.name not in {*of_city, "group_bound"}]
        return Baseline(
            **of_city,
            **{name: getattr(padded, name)[..., series] for name in of_series},
            group_bound=padded.group_bound[..., groups],
        )

    @classmethod
    def joined(cls, parts: list[Baseline]) -> Baseline:
        """Return the baselines of many kinds and metrics as one; series, groups and cities follow each other."""
        return cls(
            **{
                field.name: np.concatenate([getattr(part, field.name) for part in parts], axis=-1)
                for field in dataclasses.fields(cls)
            }
        )


def hour_of_week(times: Ints, zone: zoneinfo.ZoneInfo) -> Ints:
    """Return the local hour of the week of Unix times (µs), (n,): 0 is Monday from 0:00 to 1:00."""
    hours, inverse = np.unique(times // 3_600_000_000, return_inverse=True)
    local = [dt.datetime.fromtimestamp(hour * 3600, zone) for hour in hours.tolist()]
    return np.array([24 * time.weekday() + time.hour for time in local], np.int64)[inverse]


def to_scale(values: Floats, knee: Floats) -> Floats:
    """Return y of values: asinh(x / knee), or x where the knee is 0; both broadcast."""
    bent = np.arcsinh(values / np.where(knee > 0, knee, np.float32(1)))
    result: Floats = np.where(knee > 0, bent, values).astype(np.float32)
    return result


def from_scale(scaled: Floats, knee: Floats) -> Floats:
    """Return the values of y: the inverse of ``to_scale``."""
    with np.errstate(over="ignore"):
        result: Floats = np.where(knee > 0, np.sinh(np.where(knee > 0, scaled, np.float32(0))) * knee, scaled)
    return result
