"""Quantile sketches: how many values fell into each of exponentially growing bins, for many groups at once.

Two sketches merge by adding their bins, in any order and with the same result, so a sketch that is made again is
the same. Source: Masson, Rim, Lee, DDSketch, VLDB 2019. An estimated quantile is within ``RELATIVE_ERROR`` of a
value that has this rank.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Self

import numpy as np
import numpy.typing as npt

RELATIVE_ERROR = 0.01
GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
# A bin's key has the sign of its values and rises with them; 0 is zero. Shifted, so that bins of small values, whose
# exponent is negative, keep the sign: what is smaller than 1e-71 counts as zero.
KEY_SHIFT = 8192
_MOST = KEY_SHIFT - 2
_BIN = np.dtype([("key", ">i2"), ("count", ">u4")])


def keys_of(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
    """Return the bin of each finite value."""
    size = np.abs(values)
    with np.errstate(divide="ignore"):
        exponent = np.ceil(np.log(size) / math.log(GAMMA))
    key = np.where(exponent < -_MOST, 0, np.minimum(exponent, _MOST) + KEY_SHIFT)
    return np.copysign(key, values).astype(np.int16)


def values_of(keys: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    """Return the value that stands for each bin: the one from which no value of it is further than the error."""
    exponent = np.abs(keys.astype(np.float64)) - KEY_SHIFT
    middle = 2 * np.power(GAMMA, exponent) / (GAMMA + 1)
    return np.where(keys == 0, 0.0, np.copysign(middle, keys))


@dataclasses.dataclass(frozen=True, slots=True)
class Sketches:
    """The sketches of several groups: bins sorted by (group, key), each once.

    ``offsets`` int64 (groups + 1,): the bins of group g are those from ``offsets[g]`` to before ``offsets[g + 1]``;
    ``keys`` int16 and ``counts`` int64 (bins,).
    """

    offsets: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int16]
    counts: npt.NDArray[np.int64]

    @classmethod
    def gather(
        cls,
        group: npt.NDArray[np.int64],
        keys: npt.NDArray[np.int16],
        counts: npt.NDArray[np.int64],
        groups: int,
    ) -> Self:
        """Return the sketches of bins that lie in any order, and may be there several times."""
        place = (group.astype(np.int64) << 16) + keys.astype(np.int64) + 2**15
        order = np.argsort(place, kind="stable")
        place = place[order]
        first = np.flatnonzero(np.append(True, place[1:] != place[:-1])) if len(place) else order
        total = np.add.reduceat(counts[order], first) if len(place) else counts
        place = place[first]
        offsets = np.searchsorted(place >> 16, np.arange(groups + 1))
        return cls(offsets.astype(np.int64), ((place & 0xFFFF) - 2**15).astype(np.int16), total)

    @classmethod
    def of_values(cls, group: npt.NDArray[np.int64], values: npt.NDArray[np.float64], groups: int) -> Self:
        """Return the sketches of finite values, each of its group."""
        return cls.gather(group, keys_of(values), np.ones(len(values), np.int64), groups)

    @classmethod
    def from_bytes(cls, lengths: npt.NDArray[np.int64], data: bytes) -> Self:
        """Return the sketches that ``to_bytes`` wrote, one behind the other; ``lengths`` in bytes, (groups,)."""
        bins = np.frombuffer(data, _BIN)
        offsets = np.append(0, np.cumsum(lengths)) // _BIN.itemsize
        return cls(offsets, bins["key"].astype(np.int16), bins["count"].astype(np.int64))

    def to_bytes(self) -> tuple[npt.NDArray[np.int64], bytes]:
        """Return the length of each group's bytes, and all bytes."""
        bins = np.empty(len(self.keys), _BIN)
        bins["key"], bins["count"] = self.keys, self.counts
        return np.diff(self.offsets) * _BIN.itemsize, bins.tobytes()

    def group_of_bins(self) -> npt.NDArray[np.int64]:
        """Return the group of each bin."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def merge(self, target: npt.NDArray[np.int64], groups: int) -> Sketches:
        """Return the sketches of ``groups`` groups, each the sum of those whose ``target`` (groups,) it is."""
        return Sketches.gather(target[self.group_of_bins()], self.keys, self.counts, groups)

    def quantile(self, q: float) -> npt.NDArray[np.float64]:
        """Return the estimated quantile of each group, NaN where it is empty; linear between two ranks."""
        running = np.append(0, np.cumsum(self.counts))
        before = running[self.offsets[:-1]]
        total = running[self.offsets[1:]] - before
        rank = q * np.maximum(total - 1, 0)
        low = np.floor(rank)
        lower = self._at_rank(running, before + low)
        upper = self._at_rank(running, before + np.minimum(low + 1, np.maximum(total - 1, 0)))
        estimate: npt.NDArray[np.float64] = np.where(
            total > 0, lower + (rank - low) * (upper - lower), np.nan
        )
        return estimate

    def _at_rank(
        self, running: npt.NDArray[np.int64], rank: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        if not len(self.keys):
            return np.full(len(rank), np.nan)
        place = np.searchsorted(running, rank, side="right") - 1
        return values_of(self.keys[np.minimum(place, len(self.keys) - 1)])
