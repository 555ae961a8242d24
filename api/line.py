"""The connection under an answer that goes on and on: its server tells it to end, and it may cut the connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.types import Scope

_LINE = "alatau.line"  # its key in the scope


def _nothing() -> None:
    pass


class Line:
    """``abort`` cuts the connection, with all that waits to be sent."""

    def __init__(self, abort: Callable[[], Any] = _nothing) -> None:
        self.abort = abort
        self._on_closing: Callable[[], None] = _nothing
        self._is_closing = False

    def when_closing(self, end: Callable[[], None]) -> None:
        """Call ``end`` when the server stops, which may be at once; it waits for answers that are under way."""
        self._on_closing = end
        if self._is_closing:
            end()

    def close(self) -> None:
        """Tell that the server stops."""
        self._is_closing = True
        self._on_closing()

    def put_into(self, scope: Any) -> None:
        """Let the answer to a request find its line."""
        scope[_LINE] = self


def line_of(scope: Scope) -> Line:
    """Return the line of a request; one that does nothing where the server has put none."""
    line: Line = scope.get(_LINE) or Line()
    return line
