"""The second opinion: what devices of the same kind show, in the same district, or in the whole city."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# Of fewer, one that is wrong would move the median by as much as it is wrong.
FEWEST = 3


def middle(values: Floats) -> Floats:
    """Return the median over the last axis of what is there (not NaN); NaN where nothing is."""
    ordered = np.sort(values, axis=-1)  # NaN comes last
    count = np.count_nonzero(~np.isnan(values), axis=-1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=-1)
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[-1] - 1), axis=-1)
    result: Floats = (0.5 * (low + high))[..., 0]
    return result


def quantile(values: Floats, share: float) -> Floats:
    """Return a quantile over the last axis of what is there, the value next below it; NaN where nothing is."""
    ordered = np.sort(values, axis=-1)
    count = np.count_nonzero(~np.isnan(values), axis=-1, keepdims=True)
    place = (share * np.maximum(count - 1, 0)).astype(np.int64)
    result: Floats = np.take_along_axis(ordered, place, axis=-1)[..., 0]
    return result


def group_medians(values: Floats, group: Ints, groups: int) -> tuple[Floats, Ints]:
    """Return the median (groups,) of the values (s,) of each group, and how many were there (groups,).

    NaN where fewer than ``FEWEST`` are there. One sort for all groups, whatever their sizes.
    """
    there = np.flatnonzero(~np.isnan(values))
    member, value = group[there], values[there]
    order = np.lexsort((value, member))
    value = value[order]
    count = np.bincount(member, minlength=groups)
    first = np.cumsum(count) - count
    medians = np.full(groups, np.nan, np.float32)
    enough = np.flatnonzero(count >= FEWEST)
    begin, size = first[enough], count[enough]
    medians[enough] = 0.5 * (value[begin + (size - 1) // 2] + value[begin + size // 2])
    return medians, count


def common_of(of_group: Floats, of_city: Floats) -> Floats:
    """Return what neighbours have in common: of the district, else of the city, else nothing (0)."""
    common = np.where(np.isnan(of_group), of_city, of_group)
    result: Floats = np.where(np.isnan(common), np.float32(0), common)
    return result


def others_of(city: Ints) -> Ints:
    """Return for each group the other groups of its city, padded with -1: (groups, most others).

    ``city`` (groups,) says to which kind and metric of the whole city each group belongs.
    """
    members: dict[int, list[int]] = {}
    for group, number in enumerate(city.tolist()):
        members.setdefault(number, []).append(group)
    width = max([1, *(len(groups) - 1 for groups in members.values())])
    others = np.full((len(city), width), -1, np.int64)
    for groups in members.values():
        for group in groups:
            rest = [other for other in groups if other != group]
            others[group, : len(rest)] = rest
    return others


def median_of_others(medians: Floats, others: Ints) -> Floats:
    """Return for each group the median of the medians of the other districts; NaN where there are none."""
    gathered = np.where(others >= 0, medians[others], np.float32(np.nan))
    return middle(gathered.astype(np.float32))
