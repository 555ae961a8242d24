"""Hours of a metric as arrays, from the rows of rollups."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alerts.baseline import History
from alerts.neighbours import Ints
from sensors.kinds import Behaviour, Metric
from storage.anomaly_inputs import States
from storage.columns import places_of
from storage.rollup_tables import HOUR


def history_of(states: States, devices: Ints, start: int, hours: int, metric: Metric) -> History:
    """Return the history (n, hours) of devices, given by their numbers in the database, from ``start``, Unix µs."""
    kept, where = _places(states, devices, start, hours)

    def whole(column: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        result = np.full((len(devices), hours), np.nan)
        result[where] = column[kept]
        return result

    mean, low, high = whole(states.mean), whole(states.low), whole(states.high)
    if metric.behaviour is Behaviour.COUNTER:
        mean = rises(whole(states.last), whole(states.last_at.astype(np.float64)))
    return History(
        mean.astype(np.float32),
        (high - mean).astype(np.float32),
        (mean - low).astype(np.float32),
        still=low == high,
    )


def counts_of(states: States, devices: Ints, start: int, hours: int) -> Ints:
    """Return how many readings had the metric in each hour (n, hours)."""
    kept, where = _places(states, devices, start, hours)
    result = np.zeros((len(devices), hours), np.int64)
    result[where] = states.count[kept]
    return result


def _places(
    states: States, devices: Ints, start: int, hours: int
) -> tuple[npt.NDArray[np.bool_], tuple[Ints, Ints]]:
    """Return which rows count, and the device and hour of each of those."""
    place = places_of(devices, states.device)
    hour = (states.bucket - start) // HOUR
    kept = (place >= 0) & (states.count > 0) & (hour >= 0) & (hour < hours)
    return kept, (place[kept], hour[kept])


def rises(last: npt.NDArray[np.float64], last_at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how much a counter rises in an hour (n, hours), from its last values and their times in Unix µs.

    NaN where the hour before is not there, and where it was set back.
    """
    result = np.full_like(last, np.nan)
    rise, waited = np.diff(last, axis=1), np.diff(last_at, axis=1)
    hourly = rise * HOUR / np.where(waited > 0, waited, np.nan)
    result[:, 1:] = np.where(rise >= 0, hourly, np.nan)
    return result
