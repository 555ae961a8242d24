"""The short way of messages that are laid out like earlier ones of their topic: from the bytes to a row in one go.

What a format's decoder and the mapping make of a topic's messages is nearly always the same but for the numbers. Where
the format knows a layout, a topic that has said the same several times is read by it; whatever does not fit goes the
long way, which says the same of what does.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ingest.decode import Row
from sensors.times import SECOND

if TYPE_CHECKING:
    from ingest.decoders.parsed import Incoming, Layout
    from ingest.mapping import Step
    from ingest.routes import Route

_MOST, _MOST_PICKS = 100_000, 4096
_TRIED_EACH = 8  # messages of a topic


class Shortcut:
    """From the bytes of a topic's messages to rows of one device."""

    __slots__ = ("_decode", "_pick", "_scaled", "_time", "_who", "route")

    def __init__(
        self,
        layout: Layout,
        pick: Callable[[Any], Any],
        scaled: tuple[Step, ...],
        route: Route,
        payload: bytes,
    ) -> None:
        self.route = route
        self._decode, self._pick, self._scaled, self._time = layout.decode, pick, scaled, layout.time
        self._who, *_ = pick(layout.decode(payload))

    def row(self, payload: bytes, received: int) -> Row | None:
        """Return the row of a message that came at ``received`` (Unix µs), None if it has to go the long way."""
        try:
            message = self._decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        who, *values = self._pick(message)
        time = self._time(message, received / SECOND)
        if who != self._who or time is None:
            return None
        for _, column, factor, offset in self._scaled:
            values[column] = values[column] * factor + offset
        return (time, *values)


class Shortcuts:
    """Those of the topics of one worker, a bounded number."""

    def __init__(self) -> None:
        self._of_topic: dict[str, Shortcut] = {}
        self._picks: dict[tuple[Any, ...], Callable[[Any], Any]] = {}
        self._seen: dict[str, int] = {}
        self.get = self._of_topic.get

    def clear(self) -> None:
        """Forget them: whose sources are whose has changed, or the kinds have."""
        self._of_topic.clear()
        self._picks.clear()

    def forget(self, topic: str) -> None:
        """Forget that of a topic which says something else now."""
        self._of_topic.pop(topic, None)

    def learn(
        self, incoming: Incoming, layout: Layout, route: Route, steps: Mapping[str, Step], row: Row
    ) -> None:
        """Take the short way from now on, if it leads to the row that the long way led to."""
        if not steps.keys() <= layout.places.keys():
            return
        places = ["absent"] * len(route.kind.columns)
        for field, step in steps.items():
            places[step.column] = layout.places[field]
        # As large as all the rest, and the same for all devices of one layout and kind.
        key = (layout.decode, layout.who, *places)
        pick = self._picks.setdefault(key, operator.attrgetter(layout.who, *places))
        scaled = tuple([step for step in steps.values() if not step.is_as_said])
        try:
            shortcut = Shortcut(layout, pick, scaled, route, incoming.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return  # another layout of the topic
        if _is_same(shortcut.row(incoming.payload, round(incoming.received * SECOND)), row):
            if len(self._of_topic) >= _MOST or len(self._picks) > _MOST_PICKS:
                self.clear()
            self._of_topic[incoming.topic] = shortcut

    def is_turn(self, topic: str) -> bool:
        """Return whether a topic without one has come often enough to look for one."""
        seen = self._seen[topic] = self._seen.get(topic, 0) + 1
        if len(self._seen) > _MOST:
            self._seen.clear()
        return seen % _TRIED_EACH == 0


def _is_same(found: Row | None, row: Row) -> bool:
    return found is not None and all(
        one == other or (math.isnan(one) and math.isnan(other)) for one, other in zip(found, row, strict=True)
    )
