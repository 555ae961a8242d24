"""The one table of formats: which topic is of which, and what its wildcards matched."""

from __future__ import annotations

from ingest.decoders import (
    chirpstack,
    collectd,
    fiware,
    homie,
    influx,
    senml,
    sensorthings,
    shelly,
    sparkplug,
    tasmota,
    things_stack,
    thingsboard,
    zigbee2mqtt,
)
from ingest.decoders.parsed import Format

FORMATS: tuple[Format, ...] = (
    chirpstack.FORMAT,
    things_stack.FORMAT,
    senml.FORMAT,
    influx.FORMAT,
    collectd.FORMAT,
    sparkplug.FORMAT,
    homie.FORMAT,
    thingsboard.FORMAT,
    thingsboard.DEVICE_FORMAT,
    fiware.FORMAT,
    sensorthings.FORMAT,
    tasmota.FORMAT,
    zigbee2mqtt.FORMAT,
    shelly.FORMAT,  # last: its topics begin with any level
)

NAMES: tuple[str, ...] = tuple(one.name for one in FORMATS)


def match(pattern: str, topic: str) -> tuple[str, ...] | None:
    """Return what the wildcards of an MQTT filter match in a topic, None where it does not match.

    ``+`` is one level, ``#`` at the end the rest, which may be empty.
    """
    wanted, found = pattern.split("/"), topic.split("/")
    levels: list[str] = []
    for place, level in enumerate(wanted):
        if level == "#":
            return (*levels, "/".join(found[place:]))
        if place >= len(found) or level not in ("+", found[place]):
            return None
        if level == "+":
            levels.append(found[place])
    return tuple(levels) if len(wanted) == len(found) else None


def format_of(topic: str) -> tuple[Format, tuple[str, ...]] | None:
    """Return the format of a topic, the first of the table, with what its wildcards matched."""
    for one in FORMATS:
        for pattern in one.patterns:
            if (levels := match(pattern, topic)) is not None:
                return one, levels
    return None
