"""Every case under ``tests/cases/decoders/<format>/<case>/``: messages in, what is to be read from them beside.

``case.toml`` says why the case is there and its source, when it was received and the messages in their order, each
with the file of its payload: ``.hex`` is decoded, anything else is taken as it is. ``expected.json`` is all that
the messages together say.
"""

from __future__ import annotations

import json
import math
import pathlib
import tomllib
import zoneinfo
from collections.abc import Mapping
from typing import Any

import pytest

from ingest.decoders.parsed import Format, Incoming, Parsed
from ingest.decoders.table import FORMATS, match
from sensors.times import SECOND, format_timestamp, parse_timestamp

CASES = pathlib.Path(__file__).parents[2] / "cases" / "decoders"
FEWEST = 12
# Formats inside others.
WITHIN = {"cayenne": "chirpstack"}


def _cases() -> list[pathlib.Path]:
    return sorted(path.parent for path in CASES.glob("*/*/case.toml"))


@pytest.mark.parametrize("case", _cases(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_case_is_read_as_expected(case: pathlib.Path) -> None:
    said = tomllib.loads((case / "case.toml").read_text())
    assert said["why"]
    found = _read(_format(case.parent.name), said, case)
    assert found == json.loads((case / "expected.json").read_text()), said["why"]


@pytest.mark.parametrize("name", [*(one.name for one in FORMATS), *WITHIN])
def test_each_format_has_enough_cases(name: str) -> None:
    assert len([case for case in _cases() if case.parent.name == name]) >= FEWEST


def _format(name: str) -> Format:
    return next(one for one in FORMATS if one.name == WITHIN.get(name, name))


def _read(wire: Format, said: Mapping[str, Any], case: pathlib.Path) -> dict[str, list[Any]]:
    memory = wire.memory()
    result: dict[str, list[Any]] = {}
    for message in said["message"]:
        received = parse_timestamp(message.get("received", said.get("received", "2026-01-01T00:00:00Z")))
        levels = next(
            levels for pattern in wire.patterns if (levels := match(pattern, message["topic"])) is not None
        )
        incoming = Incoming(
            message["topic"],
            levels,
            _payload(case / message["payload"]),
            received / SECOND,
            message.get("retained", False),
            zoneinfo.ZoneInfo(said.get("zone", "Asia/Almaty")),
        )
        for name, values in _as_json(wire.decode(incoming, memory)).items():
            if values:
                result.setdefault(name, []).extend(values)
    return result


def _payload(path: pathlib.Path) -> bytes:
    return bytes.fromhex(path.read_text()) if path.suffix == ".hex" else path.read_bytes()


def _as_json(parsed: Parsed) -> dict[str, list[Any]]:
    """Return what was read, without what goes without saying."""
    readings = [
        {
            "source": one.source,
            **_time(one.time),
            "values": one.values,
            **({"units": dict(one.units)} if one.units else {}),
            **({"historical": True} if one.is_historical else {}),
        }
        for one in parsed.readings
    ]
    statuses = [{"source": one.source, **_time(one.time), "online": one.is_online} for one in parsed.statuses]
    return {
        "readings": readings,
        "statuses": statuses,
        "refusals": [
            {"reason": one.reason.value, "path": one.path, "found": one.found, "valid": one.valid}
            for one in parsed.refusals
        ],
        "replies": [{"topic": one.topic, "payload": one.payload.hex()} for one in parsed.replies],
    }


def _time(seconds: float) -> dict[str, str]:
    return {} if math.isnan(seconds) else {"time": format_timestamp(round(seconds * SECOND))}
