"""When values stand still by nature, and for how long; learned over all devices of a kind."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alerts.baseline import HOURS, History
from alerts.neighbours import Ints

_STILL_SHARE = 0.1  # of hours without any change, beyond which standing still says nothing at that hour


def moves_of(history: History, slots: Ints) -> npt.NDArray[np.bool_]:
    """Return at which hours of the week (168,) hardly any device of the kind ever stands still."""
    there = ~np.isnan(history.mean)
    moves = np.zeros(HOURS, np.bool_)
    for slot in range(HOURS):
        seen = there[:, slots == slot]
        still = history.still[:, slots == slot] & seen
        moves[slot] = seen.sum() > 0 and still.sum() <= _STILL_SHARE * seen.sum()
    return moves


def longest_still(history: History, slots: Ints, moves: npt.NDArray[np.bool_]) -> float:
    """Return how many hours on end nine of ten devices stand still at most, in hours at which such values move."""
    run, longest = np.zeros(len(history.mean)), np.zeros(len(history.mean))
    there = ~np.isnan(history.mean)
    for hour in np.flatnonzero(moves[slots]).tolist():
        run = np.where(there[:, hour], np.where(history.still[:, hour], run + 1, 0), run)
        longest = np.maximum(longest, run)
    hours = float(np.quantile(longest, 0.9, method="lower")) if len(longest) else 0.0
    return 2 * hours
