"""Messages that ingest refuses: one maker for each reason of which nothing is stored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sensors.checks import Reason
from sensors.kinds import Kind
from sensors.topics import Channel, Topics

# No message alone is the cause of the first two: the database's state is, or the device's other readings are.
# Of the third the metrics are stored all the same, so it is no bad reading to count. The rest are of other formats.
LEFT_OUT = frozenset(
    {
        *(Reason.REFUSED_BY_DATABASE, Reason.RATE_EXCEEDED, Reason.BAD_SEQUENCE, Reason.BAD_STATUS),
        *(Reason.DUPLICATE, Reason.NO_BIRTH, Reason.SIMULATED, Reason.UNCLAIMED, Reason.WRONG_UNIT),
    }
)
_PAYLOADS: dict[Reason, Callable[[Kind, int], str]] = {
    Reason.UNKNOWN_TOPIC: lambda kind, stamp: _reading(kind, stamp, "1"),
    Reason.UNKNOWN_DEVICE: lambda kind, stamp: _reading(kind, stamp, "1"),
    Reason.TOO_LARGE: lambda _, stamp: f"[{stamp}{',0' * 10_000}]",
    Reason.UNDECODABLE: lambda kind, stamp: _reading(kind, stamp, "1")[:-1],
    Reason.NO_METRICS: lambda _, stamp: f'{{"ts":{stamp}}}',
    Reason.UNKNOWN_METRIC: lambda _, stamp: f'{{"ts":{stamp},"pm3":1}}',
    Reason.WRONG_TYPE: lambda kind, stamp: _reading(kind, stamp, '"high"'),
    Reason.OUT_OF_RANGE: lambda kind, stamp: _reading(kind, stamp, f"{kind.metrics[0].maximum * 2 + 1}"),
    Reason.TIME_UNREADABLE: lambda kind, stamp: _reading(kind, f'"{stamp} after noon"', "1"),
    Reason.TIME_TOO_OLD: lambda kind, _: _reading(kind, 1_000_000_000, "1"),
    Reason.TIME_IN_FUTURE: lambda kind, _: _reading(kind, 4_000_000_000, "1"),
}
REASONS = tuple(_PAYLOADS)
# A message of 20 kB beside others of 100 bytes: as often as they, it would be all that is measured.
_WEIGHT = np.array([0.002 if reason is Reason.TOO_LARGE else 1.0 for reason in REASONS])


def _reading(kind: Kind, stamp: int | str, value: str) -> str:
    return f'{{"ts":{stamp},"{kind.metrics[0].name}":{value}}}'


def bad_message(reason: Reason, kind: Kind, device: str, stamp: int) -> tuple[str, bytes]:
    """Return topic and payload of a device's message, ``stamp`` in Unix ms, that is refused for a reason."""
    if reason is Reason.UNKNOWN_TOPIC:
        device = f"no id! {device}"
    elif reason is Reason.UNKNOWN_DEVICE:
        device = f"no-{device}"
    return Topics().of(device, Channel.TELEMETRY), _PAYLOADS[reason](kind, stamp).encode()


def choose_bad(count: int, share: float, seed: int) -> npt.NDArray[np.int8]:
    """Return for each of ``count`` messages the number of its reason in ``REASONS``, or -1 for a good one."""
    random = np.random.default_rng((seed, 1))
    reasons = random.choice(len(REASONS), count, p=_WEIGHT / _WEIGHT.sum())
    return np.where(random.random(count) < share, reasons, -1).astype(np.int8)
