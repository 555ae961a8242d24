"""collectd's two forms as its plugins write them, apart from the decoder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class ValueList:
    """One value list; ``type`` with the names of its data sources, None in ``numbers`` is unknown."""

    host: str
    plugin: str
    plugin_instance: str
    type: tuple[str, tuple[str, ...]]
    type_instance: str
    milliseconds: int
    numbers: Sequence[float | None]

    def values(self) -> Sequence[float | None]:
        """Return a number for each data source."""
        return self.numbers[: len(self.type[1])]

    def fields(self) -> dict[str, float | None]:
        """Return the numbers by the names that they are to be read under."""
        name = f"{_named(self.plugin, self.plugin_instance)}.{_named(self.type[0], self.type_instance)}"
        ends = [""] if len(self.type[1]) == 1 else [f".{source}" for source in self.type[1]]
        return {name + end: value for end, value in zip(ends, self.values(), strict=True)}


def topic(one: ValueList) -> str:
    """Return the topic of the plain form."""
    return f"collectd/{one.host}/{_named(one.plugin, one.plugin_instance)}/{_named(one.type[0], one.type_instance)}"


def plain(one: ValueList) -> bytes:
    """Return the plain form, with its NUL."""
    words = [
        f"{one.milliseconds / 1000:.3f}",
        *("U" if value is None else repr(value) for value in one.values()),
    ]
    return ":".join(words).encode() + b"\0"


def as_json(lists: Sequence[ValueList]) -> bytes:
    """Return the form of the write plugins."""
    return json.dumps(
        [
            {
                "values": one.values(),
                "dstypes": ["gauge"] * len(one.type[1]),
                "dsnames": one.type[1],
                "time": one.milliseconds / 1000,
                "interval": 10.0,
                "host": one.host,
                "plugin": one.plugin,
                "plugin_instance": one.plugin_instance,
                "type": one.type[0],
                "type_instance": one.type_instance,
            }
            for one in lists
        ]
    ).encode()


def _named(name: str, instance: str) -> str:
    return f"{name}-{instance}" if instance else name
