"""Which device a topic belongs to: one dictionary from the whole topic to its route."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from ingest.decode import compile_decoder
from ingest.limits import Intervals
from sensors.catalogue import Catalogue
from sensors.kinds import Kind
from sensors.topics import Channel, Topics


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Route:
    """Where a device's messages go; ``decode`` is shared by all devices of the kind."""

    device_id: int
    device: str
    interval_seconds: float
    kind: Kind
    decode: Callable[[bytes], Any]


class Routes:
    """The routes of all devices. Grows as devices are registered; made anew when the catalogue changes."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._kinds: dict[str, tuple[Kind, Callable[[bytes], Any]]] = {}
        self._of_topic: dict[str, Route] = {}
        self._ids: dict[str, tuple[int, str, float]] = {}
        self.intervals = Intervals()
        self.newest = 0  # the highest device number known

    @property
    def lookup(self) -> Callable[[str], Route | None]:
        """The route of a telemetry topic, or None: the dictionary's own ``get``, for the hot path."""
        return self._of_topic.get

    def __len__(self) -> int:
        return len(self._of_topic)

    @property
    def pattern(self) -> str:
        """What a telemetry topic looks like, for people."""
        return self._topics.of("<device>", Channel.TELEMETRY)

    def device_of(self, topic: str) -> str | None:
        """Return the device that a telemetry topic names, registered or not."""
        return self._topics.device_of(topic, Channel.TELEMETRY)

    def number_of(self, device: str) -> int | None:
        """Return a device's number, None of one that is not known."""
        return self._ids[device][0] if device in self._ids else None

    def set_catalogue(self, catalogue: Catalogue) -> None:
        """Route by these kinds from now on."""
        self._kinds = {kind.name: (kind, compile_decoder(kind)) for kind in catalogue.kinds}
        devices = [(number, device, kind, seconds) for device, (number, kind, seconds) in self._ids.items()]
        self._of_topic.clear()
        self.add(devices)

    def add(self, devices: Iterable[tuple[int, str, str, float]]) -> None:
        """Add devices, or what changed of them, as (number, id, kind, interval in s).

        Those of a kind not yet known wait for the catalogue.
        """
        for number, device, kind_name, seconds in devices:
            self._ids[device] = (number, kind_name, seconds)
            self.intervals.set(number, seconds)
            self.newest = max(self.newest, number)
            if kind_name in self._kinds:
                topic = self._topics.of(device, Channel.TELEMETRY)
                self._of_topic[topic] = Route(number, device, seconds, *self._kinds[kind_name])
