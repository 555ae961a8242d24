"""One line for an incident, not one for each time that it shows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import structlog

_REMEMBERED = 1000
Key = tuple[str, str]


class Repetition:
    """A structlog processor that lets the same event through once in ``interval`` seconds.

    The next one that gets through says ``repeated``: how many were left out since. Same is the same event and, of
    an exception, the same line of code; whatever else is said of it may differ.

    ``ends=(event, …)`` names the events of trouble that an event ends. It is let through whenever one of them was
    written since it was written itself, so that the log does not end with trouble that has passed.
    """

    def __init__(self, interval: float, monotonic: Callable[[], float]) -> None:
        self._interval = interval
        self._monotonic = monotonic
        self._written: dict[Key, float] = {}  # when, in the order of when
        self._left_out: dict[Key, int] = {}

    def __call__(self, _logger: Any, _method: str, event_dict: Any) -> Any:
        """Return the event, or raise DropEvent."""
        ends = event_dict.pop("ends", ())
        # What asyncio says of a task begins the same each time, and goes on with addresses.
        event = str(event_dict.get("event", "")).partition("\n")[0]
        key, now = (event, _place_of(event_dict.get("exc_info"))), self._monotonic()
        last = self._written.get(key)
        if last is not None and now - last < self._interval and not self._is_news(ends, last):
            self._left_out[key] = self._left_out.get(key, 0) + 1
            raise structlog.DropEvent
        self._remember(key, now)
        if left_out := self._left_out.pop(key, 0):
            event_dict["repeated"] = left_out
        return event_dict

    def _is_news(self, ends: tuple[str, ...], last: float) -> bool:
        return any(self._written.get((event, ""), last) > last for event in ends)

    def _remember(self, key: Key, now: float) -> None:
        self._written.pop(key, None)
        self._written[key] = now
        if len(self._written) > _REMEMBERED:
            oldest = next(iter(self._written))
            del self._written[oldest]
            self._left_out.pop(oldest, None)


def _place_of(exc_info: Any) -> str:
    """Return which exception it is and where it was raised, or nothing."""
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if not isinstance(error, BaseException):
        return ""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__} {place}"
