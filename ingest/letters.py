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
    """

    each: int = 100
    strangers: int = 1000
    total: int = 10_000


class LetterQuota:
    """Decides which letters are kept. What it remembers is of one minute, and bounded by what it lets through."""

    def __init__(self, policy: LetterPolicy | None = None) -> None:
        self._policy = policy or LetterPolicy()
        self._minute = -1
        self._kept: collections.Counter[tuple[str, Reason]] = collections.Counter()
        self._strangers: collections.Counter[Reason] = collections.Counter()
        self._last: dict[Reason, str] = {}
        self._total = 0

    def fold_into(self, topic: str, reason: Reason, now: int, *, has_device: bool) -> str | None:
        """Return None when a letter is to be kept whole, else the topic of the letter of this reason to count it in.

        That is the topic's own, if one was kept in this minute (of ``now``, Unix µs), else the last of the reason.
        """
        if now // _MINUTE != self._minute:
            self._minute, self._total = now // _MINUTE, 0
            self._kept.clear()
            self._strangers.clear()
            self._last.clear()
        kept, last = self._kept[topic, reason], self._last.get(reason)
        is_full = (
            kept >= self._policy.each
            or self._total >= self._policy.total
            or (not has_device and self._strangers[reason] >= self._policy.strangers)
        )
        if is_full and last is not None:
            return topic if kept else last
        self._kept[topic, reason] = kept + 1
        self._strangers[reason] += not has_device
        self._last[reason] = topic
        self._total += 1
        return None
