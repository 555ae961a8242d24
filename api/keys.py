"""API keys: which were valid a moment ago, and how many requests of each are under way."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable


class KeyCache:
    """Remembers, for ``seconds``, at most ``size`` keys that were valid; only their hashes are kept.

    A revoked key works that much longer; a new one works at once, because refusals are not remembered.
    """

    def __init__(self, size: int, seconds: float, monotonic: Callable[[], float]) -> None:
        self._size = size
        self._seconds = seconds
        self._monotonic = monotonic
        self._known: OrderedDict[bytes, tuple[float, str]] = OrderedDict()  # until when, and the name

    def name_of(self, key: str) -> str | None:
        """Return the name of a key that was valid a moment ago, else None."""
        expires, name = self._known.get(_digest(key), (0.0, ""))
        return name if expires > self._monotonic() else None

    def remember(self, key: str, name: str) -> None:
        """Note that a key is valid now; the oldest is forgotten."""
        digest = _digest(key)
        self._known[digest] = (self._monotonic() + self._seconds, name)
        self._known.move_to_end(digest)
        while len(self._known) > self._size:
            self._known.popitem(last=False)


@dataclasses.dataclass(slots=True)
class _Line:
    turns: asyncio.Semaphore
    requests: int = 0


class KeyTurns:
    """Lets the requests of each key go on, ``most`` at once; ``waiting`` more wait for their turn, in their order."""

    def __init__(self, most: int, waiting: int) -> None:
        self.most = most
        self.waiting = waiting
        self._lines: dict[bytes, _Line] = {}

    @contextlib.asynccontextmanager
    async def take(self, key: str) -> AsyncIterator[bool]:
        """Wait for a turn, and keep it for the time of the block; gives False at once where too many wait."""
        digest = _digest(key)
        line = self._lines.setdefault(digest, _Line(asyncio.Semaphore(self.most)))
        if line.requests >= self.most + self.waiting:
            yield False
            return
        line.requests += 1
        try:
            async with line.turns:
                yield True
        finally:
            line.requests -= 1
            if not line.requests:
                del self._lines[digest]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
