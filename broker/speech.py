"""Who may speak in which other format: each device for itself, or gateways for the devices behind them."""

from __future__ import annotations

import dataclasses

# What programs subscribe to by themselves, some of which end when they may not. Nobody publishes there, or they are not
# given it.
_ASKED_FOR = {
    "chirpstack": ("application/+/device/+/command/+",),
    "thingsboard": ("v1/devices/me/#", "v1/gateway/#"),
    "zigbee2mqtt": ("zigbee2mqtt/#",),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Speech:
    """A format as the broker knows it: the filters of its topics, and of what gateways are answered on.

    Topics are a device's ``own`` where the first level that a wildcard matches is who publishes: its client id.
    """

    name: str
    topics: tuple[str, ...]
    is_own: bool
    answers: tuple[str, ...] = ()

    @property
    def asked_for(self) -> tuple[str, ...]:
        """What gateways may subscribe to: what they are answered on, and what their programs can't do without."""
        return (*self.answers, *_ASKED_FOR.get(self.name, ()))

    @property
    def of_each_client(self) -> list[str]:
        """The same topics as patterns of the access file, which hold for each client id."""
        return [_of_client(topic) for topic in self.topics]


def _of_client(topic: str) -> str:
    levels = topic.split("/")
    place = next(place for place, level in enumerate(levels) if level in ("+", "#"))
    # ``x/#`` is ``x``, too.
    levels[place : place + 1] = ["%c"] if levels[place] == "+" else ["%c", "#"]
    return "/".join(levels)
