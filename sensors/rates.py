"""How often somebody may do something: a bucket of tokens for each, refilled all the time."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """``burst`` at once, and ``per_second`` in the long run."""

    per_second: float
    burst: int

    @property
    def window(self) -> int:
        """Seconds in which an empty bucket is full again."""
        return math.ceil(self.burst / self.per_second)


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """What came of taking a token: how many are left, or after how many seconds there is one."""

    is_allowed: bool
    left: int
    wait: int


class Buckets:
    """A bucket for each of at most ``size`` names; the one that was used longest ago is forgotten, and full again."""

    def __init__(self, rate: Rate, size: int, monotonic: Callable[[], float]) -> None:
        self.rate = rate
        self._size = size
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # tokens, and when they were counted

    def take(self, name: str) -> Taken:
        """Take one token."""
        tokens = self._tokens(name)
        is_allowed = tokens >= 1
        tokens -= is_allowed
        self._buckets[name] = (tokens, self._monotonic())
        self._buckets.move_to_end(name)
        while len(self._buckets) > self._size:
            self._buckets.popitem(last=False)
        wait = 0 if tokens >= 1 else math.ceil((1 - tokens) / self.rate.per_second)
        return Taken(is_allowed, math.floor(tokens), wait)

    def give_back(self, name: str) -> None:
        """Give a token back that was taken."""
        if name in self._buckets:
            self._buckets[name] = (min(self.rate.burst, self._tokens(name) + 1), self._monotonic())

    def is_empty(self, name: str) -> bool:
        """Return whether there is no token, and take none."""
        return self._tokens(name) < 1

    def _tokens(self, name: str) -> float:
        tokens, counted = self._buckets.get(name, (float(self.rate.burst), 0.0))
        return min(self.rate.burst, tokens + (self._monotonic() - counted) * self.rate.per_second)
