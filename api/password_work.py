"""Hashing passwords beside everything else, and not too many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from api.passwords import Hashing
from api.problems import unavailable

_Result = TypeVar("_Result")


class PasswordWork:
    """Hashes and compares in threads of its own, ``at_once`` at a time; ``waiting`` more wait, others are refused.

    One takes 20 MiB and some hundredths of a second of a core: without a bound, strangers could take all of both.
    """

    def __init__(self, hashing: Hashing, at_once: int, waiting: int) -> None:
        self._hashing = hashing
        self._nobodys = hashing.nobodys()
        self._most = at_once + waiting
        self._under_way = 0
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="api.passwords")
        self.compared = 0

    async def hash(self, password: str) -> str:
        """Return the hash of a password."""
        return await self._run(lambda: self._hashing.hash(password))

    async def matches(self, stored: str | None, password: str) -> bool:
        """Return whether a password is the one of a hash; without one it takes as long, and is not."""
        is_one = await self._run(lambda: self._hashing.matches(stored or self._nobodys, password))
        self.compared += 1
        return is_one and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Return whether a hash was made with other parameters."""
        return self._hashing.is_outdated(stored)

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        if self._under_way >= self._most:
            raise unavailable("too many people sign in at once; ask again in a moment")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._under_way -= 1

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
