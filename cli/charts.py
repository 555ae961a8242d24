"""Small charts of a line of text, for the terminal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(
    values: Sequence[float | None], width: int, *, within: tuple[float, float] | None = None
) -> str:
    """Return values as blocks from their lowest to their highest, at most ``width``; a space where none is.

    ``within`` has another lowest and highest.

    Where there are more values than blocks, each block is the mean of those that fall on it.
    """
    cells = _cells(values, min(width, len(values)))
    present = [value for value in cells if value is not None]
    if not present:
        return " " * len(cells)
    lowest, highest = within or (min(present), max(present))
    return "".join(" " if value is None else _block(value - lowest, highest - lowest) for value in cells)


def _block(height: float, range_: float) -> str:
    # What does not change is drawn in the middle.
    fraction = height / range_ if range_ > 0 else 0.5
    return _BLOCKS[min(int(fraction * len(_BLOCKS)), len(_BLOCKS) - 1)]


def _cells(values: Sequence[float | None], count: int) -> list[float | None]:
    edges = [number * len(values) // count for number in range(count + 1)] if count else [0]
    return [_mean(values[first:last]) for first, last in itertools.pairwise(edges)]


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
