"""For how long the broker does nothing else while it is told of accounts, and when a restart is sooner done.

The plugin writes its whole file after each command: see docs/decisions/0005.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Command = Mapping[str, Any]

_WRITING_SECONDS = 3.3e-6  # for each command and account
_AT_ONCE_SECONDS = 0.5  # between two batches it does what else there is to do
_AT_ONCE = 500  # commands in a packet that the broker takes
# A restart, as devices see it: 2 s with 100,000 accounts, and up to a second until a device comes again.
_RESTART_SECONDS = 3.0


def standstill_seconds(commands: int, accounts: int) -> float:
    """Return for how long the broker does nothing else when it carries out commands beside so many accounts."""
    return commands * (accounts + commands / 2) * _WRITING_SECONDS


def is_restart_quicker(new: int, accounts: int, restart_seconds: float = _RESTART_SECONDS) -> bool:
    """Return whether so many new accounts, beside those that there are, are sooner known by a restart."""
    return standstill_seconds(new, accounts) > restart_seconds


def batches(commands: Sequence[Command], accounts: int) -> Iterator[Sequence[Command]]:
    """Part commands so that each part holds the broker up for half a second at most."""
    count = min(_AT_ONCE, max(1, int(_AT_ONCE_SECONDS / (_WRITING_SECONDS * (accounts + len(commands))))))
    return (commands[start : start + count] for start in range(0, len(commands), count))
