"""How often somebody may be wrong when signing in.

Three things are counted, each for what it can tell: how often a name was wrong from one address, which waits twice as
long each time; how often an address was wrong with any name; how often a name was wrong from anywhere. The last two
don't concern who signed in from that address before: nobody is kept out by others who guess.
"""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Callable

from sensors.rates import Buckets, Rate


@dataclasses.dataclass(frozen=True, slots=True)
class ThrottleOptions:
    """Frozen policy: ``free`` wrong passwords of a name from one address cost no wait, the next ones 1, 2, 4 … seconds,
    at most ``longest_wait``, and are forgotten after ``forgotten_after`` seconds without one."""

    free: int = 4
    longest_wait: float = 300.0
    forgotten_after: float = 3600.0
    rate_per_address: Rate = dataclasses.field(default_factory=lambda: Rate(1 / 30, 20))
    rate_per_name: Rate = dataclasses.field(default_factory=lambda: Rate(1 / 60, 50))
    size: int = 10_000  # addresses and names that are remembered


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """Somebody signs in: under which name, from where, and whether they did from there before."""

    name: str
    address: str
    is_known: bool


class Throttle:
    """Counts attempts. Each is counted as wrong when it begins, so that many at once are not one."""

    def __init__(self, options: ThrottleOptions, monotonic: Callable[[], float]) -> None:
        self._options = options
        self._monotonic = monotonic
        self._of_addresses = Buckets(options.rate_per_address, options.size, monotonic)
        self._of_names = Buckets(options.rate_per_name, options.size, monotonic)
        # How often a name was wrong from an address, and when last.
        self._wrong: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def begin(self, attempt: Attempt) -> int:
        """Count an attempt, and return 0; or count none, and return after how many seconds there may be one."""
        if wait := self._wait_of_pair(attempt):
            return wait
        if not attempt.is_known:
            for buckets, name in ((self._of_addresses, attempt.address), (self._of_names, attempt.name)):
                if buckets.is_empty(name):
                    return max(1, buckets.take(name).wait)
            self._of_addresses.take(attempt.address)
            self._of_names.take(attempt.name)
        pair = (attempt.address, attempt.name)
        self._wrong[pair] = (self._times(pair) + 1, self._monotonic())
        self._wrong.move_to_end(pair)
        while len(self._wrong) > self._options.size:
            self._wrong.popitem(last=False)
        return 0

    def was_right(self, attempt: Attempt) -> None:
        """Count an attempt no more, and what was wrong of the same name and address before."""
        self._wrong.pop((attempt.address, attempt.name), None)
        self._give_back(attempt)

    def withdraw(self, attempt: Attempt) -> None:
        """Count an attempt no more, of which nothing came."""
        pair = (attempt.address, attempt.name)
        times, last = self._wrong.get(pair, (1, 0.0))
        self._wrong[pair] = (times - 1, last)
        self._give_back(attempt)

    def _give_back(self, attempt: Attempt) -> None:
        if not attempt.is_known:
            self._of_addresses.give_back(attempt.address)
            self._of_names.give_back(attempt.name)

    def _wait_of_pair(self, attempt: Attempt) -> int:
        pair = (attempt.address, attempt.name)
        over = self._times(pair) - self._options.free
        if over < 0:
            return 0
        wait = min(self._options.longest_wait, 2.0 ** min(over, 60))
        return max(0, math.ceil(self._wrong[pair][1] + wait - self._monotonic()))

    def _times(self, pair: tuple[str, str]) -> int:
        times, last = self._wrong.get(pair, (0, -math.inf))
        return times if self._monotonic() - last < self._options.forgotten_after else 0
