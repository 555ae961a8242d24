"""What a long benchmark does now, and how long the rest will take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from cli.console import Steps
from stack.progress import Report


class Schedule:
    """Steps whose usual times, in seconds, are known before."""

    def __init__(self, steps: Steps, seconds: Mapping[str, float]) -> None:
        self._steps = steps
        self._left = dict(seconds)

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Report]:
        """Show one step, with the time that it and the rest will take."""
        left = sum(self._left.values())
        rest = f"{left / 60:.0f} min" if left >= 120 else f"{left:.0f} s"
        with self._steps.step(f"{title} [dim](about {rest} left)[/]") as report:
            yield report
        self._left.pop(title, None)
