"""Payloads that no device sends, and what holds of whatever is read from them."""

from __future__ import annotations

import math
import pathlib
import random
import tomllib

from benchmarks.fuzz import mutations
from ingest.decoders.parsed import Format, Incoming, Parsed
from ingest.decoders.table import match

_CASES = pathlib.Path(__file__).parents[2] / "cases" / "decoders"
RECEIVED = 1767225600.0
_LONGEST = 255


def incoming(wire: Format, topic: str, payload: bytes) -> Incoming:
    """Return a message as the broker gives it."""
    levels = next(levels for pattern in wire.patterns if (levels := match(pattern, topic)) is not None)
    return Incoming(topic, levels, payload, RECEIVED)


def payloads_of_cases(wire: Format) -> list[bytes]:
    """Return the payloads of a format's cases, but for empty ones."""
    payloads = []
    for case in sorted(_CASES.glob(f"{wire.name}/*/case.toml")):
        for message in tomllib.loads(case.read_text())["message"]:
            path = case.parent / message["payload"]
            raw = path.read_bytes()
            payloads.append(bytes.fromhex(raw.decode()) if path.suffix == ".hex" else raw)
    return [payload for payload in payloads if payload]


def fuzz(wire: Format, topics: tuple[str, ...], count: int) -> None:
    """Read mutations of the cases' payloads; raises if one is not read soundly."""
    generator = random.Random(7)  # noqa: S311  # not for secrets
    for _, payload in zip(range(count), mutations(generator, payloads_of_cases(wire)), strict=False):
        check_sound(wire.decode(incoming(wire, generator.choice(topics), payload), wire.memory()), payload)


def check_sound(parsed: Parsed, payload: bytes) -> None:
    """Raise AssertionError unless what was read may be stored and told."""
    seen = set()
    for reading in parsed.readings:
        assert 0 < len(reading.source) <= _LONGEST, payload
        assert math.isnan(reading.time) or abs(reading.time) < 1e11, payload
        assert reading.values, payload
        assert set(reading.units) <= set(reading.values), payload
        for field, value in reading.values.items():
            assert 0 < len(field) <= _LONGEST + len(".sum"), payload
            assert type(value) is float, payload
            assert math.isfinite(value), payload
        key = (reading.source, None if math.isnan(reading.time) else reading.time)
        assert key not in seen, payload
        seen.add(key)
    for refusal in parsed.refusals:
        assert refusal.path == "" or refusal.path[0] == "/", payload
        assert 0 < len(refusal.found) <= 80, payload
        assert refusal.valid, payload
