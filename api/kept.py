"""Answers that many ask for at once are made once, and hold for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")

_MOST = 256


class Kept(Generic[Value]):
    """Keeps what was made for ``seconds``, by key; who asks while it is being made waits for it."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._values: dict[Hashable, tuple[float, Value]] = {}
        self._making: dict[Hashable, asyncio.Lock] = {}

    async def get(self, key: Hashable, make: Callable[[], Awaitable[Value]]) -> Value:
        """Return what is kept, or what ``make`` returns; what it raises is kept for nobody."""
        lock = self._making.setdefault(key, asyncio.Lock())
        async with lock:
            until, value = self._values.get(key, (0.0, None))
            if value is not None and self._clock() < until:
                return value
            value = await make()
            self._values[key] = (self._clock() + self._seconds, value)
        self._forget_old()
        return value

    def _forget_old(self) -> None:
        if len(self._values) > _MOST:
            now = self._clock()
            self._values = {key: kept for key, kept in self._values.items() if kept[0] > now}
            self._making = {key: lock for key, lock in self._making.items() if lock.locked()}
