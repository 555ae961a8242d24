"""Whether any payload crashes or holds up the native decoder: ``./alatau bench fuzz``.

Five million payloads, made by mutating good ones of every kind with a seeded generator, go through both decoders as
ingest uses them: the compiled one, and where that refuses, the one that takes a payload apart. Where both accept, they
have to agree.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from benchmarks.report import Measure, Result, options
from cli.console import Steps, errors
from ingest.decode import Decoded, Row, compile_decoder, take_apart
from sensors.catalogue import build_catalogue, builtin_file
from sensors.checks import Reason
from sensors.kinds import Kind
from stack.progress import Report

_INPUTS, _QUICK_INPUTS = 5_000_000, 50_000
_SEED = 1
_LARGEST = 65_536  # bytes, of a payload made longer
# A payload of 64 KB may take that long, on a machine that does other things beside.
_SLOWEST_SECONDS = 1.0
_EXPLAINED_EVERY = 100
_PIECES = (
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-0.0", b"9007199254740993", b"1" * 400, b"0x10"),
    *(b'""', b'"\\u0000"', b'"\\ud800"', b"\xff\xfe", b"\xc3\x28", b"\xef\xbb\xbf", b"\x00", b"\n", b" "),
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"[" * 200, b'{"a":' * 200, b"{}", b"[]", b"[[]]"),
    *(b'"ts"', b'"ts":', b'"seq":', b'"oldest":', b'"values":', b'"values":{', b'"2026-01-01T00:00:00Z"'),
    *(b'"9999-12-31T23:59:60+24:00"', b"1767225600", b"1767225600000000000", b"-1", b"1e3", b"1.5"),
)


def seeds(kind: Kind) -> list[bytes]:
    """Return good payloads of a kind, in every shape."""
    metrics = {metric.name: metric.minimum for metric in kind.metrics}
    one = {kind.metrics[0].name: kind.metrics[0].minimum}
    shapes: list[Any] = [
        metrics,
        {"ts": 1_767_225_600, **metrics},
        {"ts": "2026-01-01T00:00:00.5Z", "values": metrics},
        {"ts": 1_767_225_600_000, "seq": 7, "oldest": 3, **one},
        [{"ts": 1_767_225_600 + second, "seq": second + 1, **one} for second in range(3)],
    ]
    return [msgspec.json.encode(shape) for shape in shapes]


def mutations(generator: random.Random, good: Sequence[bytes]) -> Iterator[bytes]:
    """Yield payloads without end, each some random changes away from a good one."""
    choose, below = generator.choice, generator.randrange
    while True:
        payload = choose(good)
        for _ in range(below(1, 5)):
            at = below(len(payload) + 1)
            match below(6):
                case 0:
                    payload = payload[:at] + bytes((below(256),)) + payload[at + 1 :]
                case 1:
                    payload = payload[:at] + choose(_PIECES) + payload[at:]
                case 2:
                    payload = payload[:at]
                case 3:
                    payload = payload[:at] + payload[at + below(1, 9) :]
                case 4:
                    other = choose(good)
                    payload = payload[:at] + other[below(len(other)) :]
                case _:
                    payload = (payload[:at] + payload[at // 2 :])[:_LARGEST]
        yield payload


class Fuzz:
    """Decodes payloads of one kind as ingest does, and counts what came of them."""

    def __init__(self, kind: Kind, clock: Callable[[], float] = time.perf_counter) -> None:
        self._kind = kind
        self._decode = compile_decoder(kind)
        self._clock = clock
        self.accepted = self.crashed = self.disagreed = 0
        self.slowest = 0.0
        self.example: bytes | None = None  # the first payload that did what it must not

    def run(self, payloads: Iterator[bytes]) -> None:
        """Decode them all."""
        for number, payload in enumerate(payloads):
            started = self._clock()
            try:
                self._one(payload, explain=number % _EXPLAINED_EVERY == 0)
            except Exception:  # noqa: BLE001 - any at all is what is looked for
                self.crashed += 1
                self.example = self.example or payload
            self.slowest = max(self.slowest, self._clock() - started)

    def _one(self, payload: bytes, *, explain: bool) -> None:
        fast = self._fast(payload)
        if fast is not None and not explain:
            self.accepted += 1
            return
        decoded = take_apart(payload, self._kind)
        self.accepted += bool(decoded.rows)
        if explain:
            for fault in decoded.faults:
                assert fault.detail  # noqa: S101 - made only here
        if fast is not None and not _agree(fast, decoded):
            self.disagreed += 1
            self.example = self.example or payload

    def _fast(self, payload: bytes) -> Row | None:
        try:
            record = self._decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        values = [getattr(record, name) for name in record.__struct_fields__]
        return tuple(
            float("nan") if one is None or isinstance(one, str) else float(one) for one in values[:-2]
        )


def _agree(fast: Row, slow: Decoded) -> bool:
    """Return whether the second decoder says the same values, or has nothing to say but of the time.

    The compiled one leaves times to the checks behind it, which refuse what is far away; they are not compared here.
    """
    values = np.array(fast[1:])
    if np.isnan(values).all() or {fault.reason for fault in slow.faults} == {Reason.TIME_UNREADABLE}:
        return True
    return any(np.array_equal(values, np.array(row[1:]), equal_nan=True) for row in slow.rows)


def fuzz(inputs: int, report: Report) -> list[Measure]:
    """Send payloads of every kind, and return what came of them."""
    catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
    each = inputs // len(catalogue.kinds)
    done: list[Fuzz] = []
    started = time.perf_counter()
    for place, kind in enumerate(catalogue.kinds):
        report(kind.name, place / len(catalogue.kinds))
        one = Fuzz(kind)
        one.run(itertools.islice(mutations(random.Random(_SEED + place), seeds(kind)), each))  # noqa: S311
        done.append(one)
    seconds = time.perf_counter() - started
    for one in done:
        if one.example is not None:
            errors.print(f"an example: {one.example[:500]!r}", markup=False)
    total = each * len(done)
    return [
        Measure("payloads", total, "payloads", "asked for", inputs * 0.99),
        Measure("rate", total / seconds, "payloads/s"),
        Measure("accepted, whole or in part", sum(one.accepted for one in done) / total, "of 1"),
        Measure("crashed", sum(one.crashed for one in done), "payloads", "", 0, at_least=False),
        Measure("decoders disagreed", sum(one.disagreed for one in done), "payloads", "", 0, at_least=False),
        Measure(
            "slowest",
            max(one.slowest for one in done) * 1000,
            "ms",
            "",
            _SLOWEST_SECONDS * 1000,
            at_least=False,
        ),
    ]


def main() -> None:
    """Run the benchmark."""
    asked = options((__doc__ or "").partition("\n")[0])
    inputs = _QUICK_INPUTS if asked.quick else _INPUTS
    result = Result("fuzz", {"inputs": inputs, "seed": _SEED, "quick": asked.quick})
    with Steps(errors) as steps, steps.step("decoding") as report:
        result.measures += fuzz(inputs, report)
    result.publish(asked.json)


if __name__ == "__main__":
    main()
