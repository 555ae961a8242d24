"""SenML as a device might write it, apart from the decoder: base fields wherever they save something, or don't."""

from __future__ import annotations

import dataclasses
import json
import random
import struct
from collections.abc import Sequence
from typing import Any

_LABELS = {
    "bver": -1,
    "bn": -2,
    "bt": -3,
    "bu": -4,
    "bv": -5,
    "bs": -6,
    "n": 0,
    "u": 1,
    "v": 2,
    "vb": 4,
    "s": 5,
    "t": 6,
}


@dataclasses.dataclass(frozen=True)
class Measured:
    """One value of a device, at Unix seconds."""

    device: str
    field: str
    time: int
    value: float
    unit: str


def pack(measured: Sequence[Measured], choose: random.Random) -> list[dict[str, Any]]:
    """Return records that say what was measured."""
    records = []
    base: dict[str, Any] = {"bn": "", "bt": 0, "bu": "", "bv": 0.0}
    for one in measured:
        record: dict[str, Any] = {}
        if not one.device.startswith(base["bn"].rstrip("/") or "?") or choose.random() < 0.2:
            base["bn"] = record["bn"] = one.device + "/"
        if choose.random() < 0.3:
            base["bt"] = record["bt"] = one.time - choose.randrange(-50, 50)
        if choose.random() < 0.3:
            base["bu"] = record["bu"] = one.unit
        if choose.random() < 0.2:
            base["bv"] = record["bv"] = float(choose.randrange(-8, 8))
        record["n"] = one.field
        if one.time != base["bt"]:
            record["t"] = one.time - base["bt"]
        if one.unit != base["bu"]:
            record["u"] = one.unit
        record["v"] = one.value - base["bv"]
        items = list(record.items())
        choose.shuffle(items)
        records.append(dict(items))
    return records


def as_json(records: Sequence[dict[str, Any]]) -> bytes:
    """Return a pack in JSON."""
    return json.dumps(records).encode()


def as_cbor(records: Sequence[dict[str, Any]], choose: random.Random) -> bytes:
    """Return a pack in CBOR, of definite or indefinite length, its numbers in any of their forms."""
    body = b"".join(_map(record, choose) for record in records)
    return b"\x9f" + body + b"\xff" if choose.random() < 0.3 else _head(4, len(records)) + body


def _map(record: dict[str, Any], choose: random.Random) -> bytes:
    body = b"".join(
        _number(_LABELS[label], choose) + _value(value, choose) for label, value in record.items()
    )
    return b"\xbf" + body + b"\xff" if choose.random() < 0.3 else _head(5, len(record)) + body


def _value(value: Any, choose: random.Random) -> bytes:
    if isinstance(value, str):
        raw = value.encode()
        return _head(3, len(raw)) + raw
    return _number(value, choose)


def _number(value: float, choose: random.Random) -> bytes:
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if value * 8 == int(value * 8) and abs(value) < 2**40 and choose.random() < 0.5:
        # A decimal fraction of three places says eighths exactly.
        return b"\xc4\x82" + _number(-3, choose) + _number(int(value * 1000), choose)
    for code, form in ((b"\xf9", ">e"), (b"\xfa", ">f")):
        try:
            if struct.unpack(form, raw := struct.pack(form, value))[0] == value:
                return code + raw
        except OverflowError:
            continue
    return b"\xfb" + struct.pack(">d", value)


def _head(major: int, number: int) -> bytes:
    first = major << 5
    if number < 24:
        return bytes([first | number])
    for code, form, below in ((24, ">B", 2**8), (25, ">H", 2**16), (26, ">I", 2**32)):
        if number < below:
            return bytes([first | code]) + struct.pack(form, number)
    return bytes([first | 27]) + struct.pack(">Q", number)
