"""Telemetry as Tasmota writes it, apart from the decoder."""

from __future__ import annotations

import datetime as dt
import json
import zoneinfo
from collections.abc import Mapping, Sequence


def telemetry(
    seconds: int,
    zone: zoneinfo.ZoneInfo,
    sensors: Mapping[str, Mapping[str, float | Sequence[float]]],
    *,
    time_format: int = 0,
    is_text: bool = False,
) -> bytes:
    """Return a message; ``time_format`` is that of its command Time, and 4 for SetOption52."""
    there = dt.datetime.fromtimestamp(seconds, zone)
    local = there.strftime("%Y-%m-%dT%H:%M:%S")
    heads: dict[int, dict[str, object]] = {
        0: {"Time": local},
        1: {"Time": local, "Epoch": seconds},
        2: {"Time": seconds},
        3: {"Time": f"{local}.000"},
        4: {"Time": there.isoformat(timespec="seconds")},
    }
    body = {
        sensor: {name: _written(value, is_text=is_text) for name, value in said.items()}
        for sensor, said in sensors.items()
    }
    return json.dumps(heads[time_format] | body | {"TempUnit": "C"}).encode()


def _written(value: float | Sequence[float], *, is_text: bool) -> object:
    if isinstance(value, Sequence):
        return [_written(one, is_text=is_text) for one in value]
    return json.dumps(value) if is_text else value
