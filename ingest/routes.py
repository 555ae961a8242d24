"""Which device a topic belongs to: one dictionary from the whole topic to its route."""

from __future__ import annotations

import dataclasses
import zoneinfo
from collections.abc import Callable, Iterable
from typing import Any

from ingest.decode import compile_decoder
from ingest.limits import Intervals
from ingest.wire import Wire
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

    def __init__(self, topics: Topics, wire: Wire | None = None) -> None:
        self._topics = topics
        self.wire = wire or Wire()
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

    def publisher_of(self, topic: str) -> str | None:
        """Return the device whose own topic it is, of telemetry or of another format, registered or not."""
        owner = self.wire.owner(topic)
        return self.device_of(topic) if owner is None else owner.publisher

    def number_of(self, device: str) -> int | None:
        """Return a device's number, None of one that is not known."""
        return self._ids[device][0] if device in self._ids else None

    def route_of(self, device: str) -> Route | None:
        """Return the route of a device by its id."""
        return self._of_topic.get(self._topics.of(device, Channel.TELEMETRY))

    def set_catalogue(self, catalogue: Catalogue) -> None:
        """Route by these kinds from now on."""
        self.wire.zone = zoneinfo.ZoneInfo(catalogue.city.timezone)
        self._kinds = {kind.name: (kind, compile_decoder(kind)) for kind in catalogue.kinds}
        devices = [(number, device, kind, seconds) for device, (number, kind, seconds) in self._ids.items()]
        self._of_topic.clear()
        self.add(devices)

    def add(self, devices: Iterable[tuple[int, str, str, float]]) -> None:
        """Add devices, or what changed of them, as (number, id, kind, interval in s).

        Those of a kind not yet known wait for the catalogue.
        """
        for number, device, kind_name, seconds in devices:
            self.wire.unbind()
            self._ids[device] = (number, kind_name, seconds)
            self.intervals.set(number, seconds)
            self.newest = max(self.newest, number)
            if kind_name in self._kinds:
                topic = self._topics.of(device, Channel.TELEMETRY)
                self._of_topic[topic] = Route(number, device, seconds, *self._kinds[kind_name])
