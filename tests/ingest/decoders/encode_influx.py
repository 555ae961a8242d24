"""Line protocol as a client writes it, apart from the decoder."""

from __future__ import annotations

import random
from collections.abc import Mapping


def line(
    measurement: str,
    tags: Mapping[str, str],
    fields: Mapping[str, float | str],
    seconds: int,
    choose: random.Random,
) -> bytes:
    """Return a line; its time is in any precision."""
    head = ",".join(
        [
            _escape(measurement, ", "),
            *(f"{_escape(tag, ',= ')}={_escape(value, ',= ')}" for tag, value in tags.items()),
        ]
    )
    body = ",".join(f"{_escape(name, ',= ')}={_literal(value, choose)}" for name, value in fields.items())
    # Below 1973 nanoseconds look like microseconds, and so on: their size tells them.
    stamp = seconds * choose.choice((1, 1, 1000, 10**6, 10**9) if seconds > 10**8 else (1,))
    return f"{head} {body} {stamp}\n".encode()


def _escape(text: str, special: str) -> str:
    for one in special:
        text = text.replace(one, f"\\{one}")
    return text


def _literal(value: float | str, choose: random.Random) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, bool):
        return choose.choice(
            ("t", "T", "true", "True", "TRUE") if value else ("f", "F", "false", "False", "FALSE")
        )
    if isinstance(value, int):
        return f"{value}{'u' if value > 2**63 - 1 or (value >= 0 and choose.random() < 0.5) else 'i'}"
    return repr(value)
