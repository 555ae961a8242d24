"""The alarm that nearly everything is refused: a fleet updated wrongly, a catalogue that lacks a kind."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping

from sensors.checks import Reason
from sensors.times import SECOND


@dataclasses.dataclass(frozen=True, slots=True)
class AlarmPolicy:
    """Raised at ``ratio`` of at least ``messages`` within ``window`` µs, over below ``over`` of them."""

    ratio: float = 0.9
    over: float = 0.8
    messages: int = 1000
    window: int = 60 * SECOND


class RefusalAlarm:
    """A sliding window of seconds. No clock and no logging: the caller passes the time (Unix µs) and reports."""

    def __init__(self, policy: AlarmPolicy | None = None) -> None:
        self._policy = policy or AlarmPolicy()
        self._seconds: collections.deque[tuple[int, int, collections.Counter[Reason]]] = collections.deque()
        self._messages = 0
        self._refused: collections.Counter[Reason] = collections.Counter()
        self._is_raised = False

    def note(self, messages: int, refused: Mapping[Reason, int], now: int) -> None:
        """Count messages that have been committed, and those of them that were refused."""
        second = now // SECOND
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, 0, collections.Counter()))
        of_second, before, reasons = self._seconds[-1]
        reasons.update(refused)
        self._seconds[-1] = (of_second, before + messages, reasons)
        self._messages += messages
        self._refused.update(refused)

    def is_raised(self, now: int) -> bool:
        """Return whether nearly everything of the last minute was refused."""
        # What lies ahead is of before our clock was set back.
        while self._seconds and not now - self._policy.window < self._seconds[0][0] * SECOND <= now:
            _, messages, reasons = self._seconds.popleft()
            self._messages -= messages
            self._refused.subtract(reasons)
        ratio = self._policy.over if self._is_raised else self._policy.ratio
        is_enough = self._messages >= max(self._policy.messages, 1)
        self._is_raised = is_enough and self._refused.total() >= ratio * self._messages
        return self._is_raised

    def summary(self) -> str:
        """Return how much of what was refused, the most frequent reasons first."""
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self._refused.most_common(3) if count)
        return f"{self._refused.total():,} of {self._messages:,} messages refused in a minute: {reasons}"
