"""What a client of the stream wants to be told, and how it is written: once for all that want the same."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi.sse import format_sse_event

from api.live_picture import News, Place
from api.live_ticks import Tick
from api.responses import encode
from storage.api_keys import WHOLE, Scope


class Topic(enum.StrEnum):
    """What is told of."""

    READINGS = "readings"
    STATUS = "status"
    ALERTS = "alerts"


# The member of an event's data that has its news.
_MEMBERS = {Topic.READINGS: "readings", Topic.STATUS: "devices", Topic.ALERTS: "alerts"}


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """What a client wants and may see; an empty set is all."""

    topics: frozenset[Topic]
    metrics: frozenset[str] = frozenset()
    districts: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    scope: Scope = WHOLE

    def holds(self, place: Place) -> bool:
        """Return whether what is of a kind and district is wanted, and in the scope."""
        kind, district = place
        return (
            (not self.kinds or kind in self.kinds)
            and (not self.districts or district in self.districts)
            and (self.scope.kinds is None or kind in self.scope.kinds)
            and (self.scope.districts is None or district in self.scope.districts)
        )


class Rendering:
    """The events of one tick: each part of the city is encoded once, each filter's events are put together once."""

    def __init__(self, tick: Tick) -> None:
        self._tick = tick
        self._encoded: dict[tuple[Topic, Place, frozenset[str]], bytes] = {}
        self._frames: dict[Filter, bytes] = {}

    def events(self, wanted: Filter) -> bytes:
        """Return the events for a filter, without an id; empty if it has nothing for it."""
        if wanted not in self._frames:
            self._frames[wanted] = b"".join(self._event(topic, wanted) for topic in sorted(wanted.topics))
        return self._frames[wanted]

    def _event(self, topic: Topic, wanted: Filter) -> bytes:
        parts = [
            encoded
            for place, news in self._tick.news.get(topic, {}).items()
            if wanted.holds(place) and (encoded := self._part(topic, place, news, wanted))
        ]
        if not parts:
            return b""
        data = b'{"%s":[%s]}' % (_MEMBERS[topic].encode(), b",".join(parts))
        return format_sse_event(event=topic.value, data_str=data.decode())

    def _part(self, topic: Topic, place: Place, news: Sequence[News], wanted: Filter) -> bytes:
        """Return news of a part of the city, encoded and with commas between."""
        if wanted.devices:
            return _encode([one for one in news if one.device in wanted.devices], topic, wanted.metrics)
        key = (topic, place, wanted.metrics)
        if key not in self._encoded:
            self._encoded[key] = _encode(news, topic, wanted.metrics)
        return self._encoded[key]


def _encode(news: Sequence[News], topic: Topic, metrics: frozenset[str]) -> bytes:
    contents = [one.content for one in news]
    if metrics:
        contents = [one for content in contents if (one := _OF_METRICS[topic](content, metrics))]
    return encode(contents)[1:-1]


def _of_metrics(content: Mapping[str, Any], metrics: frozenset[str]) -> Mapping[str, Any] | None:
    values = {metric: value for metric, value in content["values"].items() if metric in metrics}
    return {**content, "values": values} if values else None


def _of_metric(content: Mapping[str, Any], metrics: frozenset[str]) -> Mapping[str, Any] | None:
    return content if content["metric"] in metrics else None


def _whole(content: Mapping[str, Any], _: frozenset[str]) -> Mapping[str, Any]:
    return content


_OF_METRICS: dict[Topic, Callable[[Mapping[str, Any], frozenset[str]], Mapping[str, Any] | None]] = {
    Topic.READINGS: _of_metrics,
    Topic.STATUS: _whole,
    Topic.ALERTS: _of_metric,
}
