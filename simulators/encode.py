"""Payloads as a device would write them: JSON, the time in Unix milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from sensors.kinds import Kind
from simulators.city import decimals_of
from simulators.noise import Floats, Ints


class KindEncoder:
    """Writes readings of one kind the way small firmware does: with a format string."""

    def __init__(self, kind: Kind) -> None:
        parts = ['{"ts":%d']
        parts += [f'"{metric.name}":%.{decimals_of(metric)}f' for metric in kind.metrics]
        self._template = (",".join(parts) + "}").encode()

    def encode(self, times_us: Ints, values: Floats) -> list[bytes]:
        """Return one payload for each reading; times (n,) in Unix µs, values (n, metrics) without NaN."""
        template = self._template
        rows = (values + 0.0).tolist()  # adding zero turns -0.0 into 0.0
        times = (times_us // 1000).tolist()
        return [template % (time, *row) for time, row in zip(times, rows, strict=True)]


def encode_array(payloads: Iterable[bytes]) -> bytes:
    """Return the store-and-forward form: an array of readings."""
    return b"[" + b",".join(payloads) + b"]"


def readings_in(payload: bytes) -> list[bytes]:
    """Return the single readings of what ``KindEncoder.encode`` or an ``encode_array`` of that has written."""
    if not payload.startswith(b"["):
        return [payload]
    return [b"{" + reading + b"}" for reading in payload[2:-2].split(b"},{")]


def encode_fields(fields: Mapping[str, object]) -> bytes:
    """Return any reading, however wrong, as JSON."""
    return orjson.dumps(fields)
