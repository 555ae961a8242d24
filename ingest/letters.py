"""How many refused messages are kept whole; the rest is counted in the letters that are, so that none vanishes."""

from __future__ import annotations

import collections
import dataclasses

from sensors.checks import Reason
from sensors.times import SECOND

_MINUTE = 60 * SECOND


@dataclasses.dataclass(frozen=True, slots=True)
class LetterPolicy:
    """Dead letters that one worker keeps whole in a minute.

    ``each`` of a topic and reason, ``strangers`` of a reason on all topics that have no device, ``total`` of all.
    Beyond ``counted`` letters that one transaction counts in, it counts by reason alone: work is bounded too.
    """

    each: int = 100
    strangers: int = 1000
    total: int = 10_000
    counted: int = 100


# A letter that was kept: its topic, and when it was received in Unix µs.
Target = tuple[str, int]


class LetterQuota:
    """Decides which letters are kept. What it remembers is of one minute, and bounded by what it lets through."""

    def __init__(self, policy: LetterPolicy | None = None) -> None:
        self.policy = policy or LetterPolicy()
        self._minute = -1
        self._kept: collections.Counter[tuple[str, Reason]] = collections.Counter()
        self._strangers: collections.Counter[Reason] = collections.Counter()
        self._newest: dict[tuple[str, Reason], Target] = {}
        self._last: dict[Reason, Target] = {}
        self._total = 0

    def fold_into(
        self, topic: str, reason: Reason, received: int, now: int, *, has_device: bool
    ) -> Target | None:
        """Return None when a letter is to be kept whole, else the letter of its reason to count it in.

        That is the topic's newest, if one was kept in this minute (of ``now``, Unix µs), else the reason's.
        """
        if now // _MINUTE != self._minute:
            self._begin(now // _MINUTE)
        key, policy = (topic, reason), self.policy
        is_full = (
            self._kept[key] >= policy.each
            or self._total >= policy.total
            or (not has_device and self._strangers[reason] >= policy.strangers)
        )
        if is_full and reason in self._last:
            return self._newest.get(key, self._last[reason])
        self._kept[key] += 1
        self._strangers[reason] += not has_device
        self._newest[key] = self._last[reason] = (topic, received)
        self._total += 1
        return None

    def copy(self) -> LetterQuota:
        """Return one that has let through as much, for a transaction that may not commit."""
        other = LetterQuota(self.policy)
        other._minute, other._total = self._minute, self._total
        other._kept, other._strangers = self._kept.copy(), self._strangers.copy()
        other._newest, other._last = self._newest.copy(), self._last.copy()
        return other

    def last(self, reason: Reason) -> Target:
        """Return the newest letter of a reason that has one in this minute."""
        return self._last[reason]

    def _begin(self, minute: int) -> None:
        self._minute, self._total = minute, 0
        for remembered in (self._kept, self._strangers, self._newest, self._last):
            remembered.clear()
