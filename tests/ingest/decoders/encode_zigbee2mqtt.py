"""States and lists as Zigbee2MQTT writes them, apart from the decoder."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping


class Bridge:
    """A bridge that remembers what each device said last, and repeats it in each message."""

    def __init__(self, last_seen: str = "disable") -> None:
        self.last_seen = last_seen
        self._states: dict[str, dict[str, object]] = {}

    def publish(self, name: str, heard: Mapping[str, object], milliseconds: int) -> tuple[str, bytes]:
        """Return topic and payload of what follows when a device was heard."""
        state = self._states.setdefault(name, {})
        state |= heard
        moment = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=milliseconds)
        stamp = {
            "ISO_8601": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "ISO_8601_local": moment.astimezone(dt.timezone(dt.timedelta(hours=5))).isoformat(),
            "epoch": milliseconds,
        }
        if self.last_seen in stamp:
            state["last_seen"] = stamp[self.last_seen]
        return self.publish_again(name)

    def publish_again(self, name: str) -> tuple[str, bytes]:
        """Return what is sent when the bridge starts."""
        return f"zigbee2mqtt/{name}", json.dumps(self._states[name]).encode()


def listed(devices: Mapping[str, Iterable[tuple[str, str | None]]]) -> bytes:
    """Return the bridge's list of devices with numeric properties and their units."""
    return json.dumps(
        [
            {
                "friendly_name": name,
                "definition": {
                    "exposes": [
                        {"type": "numeric", "name": one, "property": one, **({"unit": unit} if unit else {})}
                        for one, unit in properties
                    ]
                },
            }
            for name, properties in devices.items()
        ]
    ).encode()
