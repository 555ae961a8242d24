"""Notifications as a Shelly writes them, apart from the decoder."""

from __future__ import annotations

import json
from collections.abc import Mapping


def notification(device: str, seconds: float | None, components: Mapping[str, Mapping[str, object]]) -> bytes:
    """Return a change of the status of components, which tell their numbers themselves."""
    params: dict[str, object] = {"ts": seconds}
    for component, status in components.items():
        _, colon, number = component.partition(":")
        params[component] = {**({"id": int(number)} if colon else {}), **status}
    frame = {"src": device, "dst": f"{device}/events", "method": "NotifyStatus", "params": params}
    return json.dumps(frame).encode()
