"""Devices that a fault takes away: each says offline then, and online again before its next reading."""

from __future__ import annotations

from collections.abc import Sequence

from simulators.publisher import Publisher


class Presence:
    """Knows which devices are away; ``topics`` are those of their statuses, by row."""

    def __init__(self, publisher: Publisher, topics: Sequence[str]) -> None:
        self._publisher = publisher
        self._topics = topics
        self._away: set[int] = set()

    def drop_out(self, row: int) -> None:
        """Take a device away; where its connection is not up, nothing can be said."""
        if row not in self._away and self._publisher.say(row, self._topics[row], b"offline"):
            self._away.add(row)

    def come_back(self, row: int) -> None:
        """Let a device that was away be there again."""
        if row in self._away and self._publisher.say(row, self._topics[row], b"online"):
            self._away.remove(row)
