"""Noise without memory: every value is a hash of (key, step), so any moment can be recomputed alone.

The hash is SplitMix64's finaliser (Steele, Lea and Flood, «Fast splittable pseudorandom number generators»,
2014), which passes BigCrush and costs a few vector operations.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_LOW16 = np.uint64(0xFFFF)
_SHIFTS = tuple(np.uint64(shift) for shift in (11, 16, 27, 30, 31, 32, 48))
_S11, _S16, _S27, _S30, _S31, _S32, _S48 = _SHIFTS

# The sum of four uniform 16-bit numbers has this mean and this standard deviation.
_SUM_MEAN = 2 * 65535.0
_SUM_DEVIATION = 65536.0 * float(np.sqrt(4 / 12))


@functools.cache
def key_of(text: str) -> np.uint64:
    """Return the 64-bit key of a text, the same in every process."""
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big"))


def hashed(key: Keys | np.uint64, step: npt.NDArray[Any]) -> Keys:
    """Return 64 well-mixed bits for each key and whole-numbered step; both broadcast."""
    z: Keys = step.astype(np.uint64) * _GOLDEN + key  # overflow wraps, which is what the hash wants
    z ^= z >> _S30
    z *= _MIX1
    z ^= z >> _S27
    z *= _MIX2
    z ^= z >> _S31
    return z


def uniform(key: Keys | np.uint64, step: npt.NDArray[Any]) -> Floats:
    """Return numbers in [0, 1)."""
    numbers: Floats = (hashed(key, step) >> _S11).astype(np.float64) * 2.0**-53
    return numbers


def gaussian(key: Keys | np.uint64, step: npt.NDArray[Any]) -> Floats:
    """Return numbers of mean 0 and deviation 1, near enough to normal, never beyond 3.47."""
    bits = hashed(key, step)
    total = (bits & _LOW16) + ((bits >> _S16) & _LOW16) + ((bits >> _S32) & _LOW16) + (bits >> _S48)
    numbers: Floats = (total.astype(np.float64) - _SUM_MEAN) / _SUM_DEVIATION
    return numbers


def lattice(time: Ints, period: int) -> tuple[Ints, Floats]:
    """Return the lattice step each time (µs) falls into, and how far into it, smoothed, in [0, 1)."""
    step = time // period
    part = (time - step * period) / period
    return step, part * part * (3.0 - 2.0 * part)


def wave(key: Keys | np.uint64, time: Ints, period: int) -> Floats:
    """Return noise that changes smoothly over ``period`` (µs), mean 0 and deviation 1 at every moment."""
    step, weight = lattice(time, period)
    rest = 1.0 - weight
    mixed = gaussian(key, step) * rest + gaussian(key, step + 1) * weight
    # Between two lattice points the mixture varies less than at them; scaling undoes that.
    result: Floats = mixed / np.sqrt(rest * rest + weight * weight)
    return result


def warp(key: Keys | np.uint64, time: Ints, period: int, roughness: float) -> tuple[Ints, Floats]:
    """Return a device's own uneven clock: times (µs) that never run backwards, and how fast they run.

    A counter read through it is irregular yet monotone. ``roughness`` in [0, 1) is the largest departure of
    the speed from 1; ``period`` in µs is how long a burst lasts.
    """
    step = time // period
    part = (time - step * period) / period
    here, there = uniform(key, step) * 2.0 - 1.0, uniform(key, step + 1) * 2.0 - 1.0
    # The steepest slope of the smoothed step is 1.5, across a difference of at most 2.
    amplitude = roughness / 3.0
    weight = part * part * (3.0 - 2.0 * part)
    moved = time + np.rint(amplitude * period * (here + (there - here) * weight)).astype(np.int64)
    speed = 1.0 + amplitude * (there - here) * 6.0 * part * (1.0 - part)
    return moved, speed
