"""Who asks: which keys and sessions were valid a moment ago, and how many requests of each are under way."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable

from storage.api_keys import Role, Scope


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, a key or a person, and what they may do and see. ``id`` is what rates, turns and exports go by."""

    id: str
    name: str
    role: Role
    scope: Scope
    is_person: bool = False

    @property
    def actor(self) -> str:
        """Return who that is, for the record."""
        return user_actor(self.name) if self.is_person else f"{self.id} ({self.name})"

    @property
    def signature(self) -> str:
        """Return whose work a correction is: the name that a key was given for people, or who a person is."""
        return self.actor if self.is_person else self.name

    @property
    def what(self) -> str:
        """Return what they are, for sentences."""
        return "user" if self.is_person else "key"


def user_actor(name: str) -> str:
    """Return who a person is, for the record."""
    return f"user {name}"


class KeyCache:
    """Remembers, for ``seconds``, at most ``size`` keys or tokens that were valid; only their hashes are kept.

    A new one works at once, because refusals are not remembered. A revoked one is forgotten when the database says so
    (``forget``), and where that is not heard works that much longer.
    """

    def __init__(self, size: int, seconds: float, monotonic: Callable[[], float]) -> None:
        self._size = size
        self._seconds = seconds
        self._monotonic = monotonic
        self._known: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()  # until when, and whose it is
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._generation = 0

    def caller_of(self, key: str) -> Caller | None:
        """Return whose a key is that was valid a moment ago, else None."""
        known = self._known.get(_digest(key))
        return known[1] if known and known[0] > self._monotonic() else None

    @property
    def generation(self) -> int:
        """How often all were forgotten."""
        return self._generation

    def remember(self, key: str, caller: Caller, generation: int, seconds: float = math.inf) -> None:
        """Note that a key is valid now, and for ``seconds`` at least; the oldest is forgotten.

        Not where all were forgotten since ``generation``, before the database was asked: it may have been revoked
        meanwhile.
        """
        if generation != self._generation:
            return
        digest = _digest(key)
        self._known[digest] = (self._monotonic() + min(seconds, self._seconds), caller)
        self._known.move_to_end(digest)
        self._seen[digest] = None
        self._seen.move_to_end(digest)
        for memory in (self._known, self._seen):
            while len(memory) > self._size:
                memory.popitem(last=False)

    def has_seen(self, key: str) -> bool:
        """Return whether a key was valid at some time; it may not be now."""
        return _digest(key) in self._seen

    def forget(self) -> None:
        """Ask the database of every key again."""
        self._generation += 1
        self._known.clear()


@dataclasses.dataclass(slots=True)
class _Line:
    turns: asyncio.Semaphore
    requests: int = 0


class KeyTurns:
    """Lets the requests of each caller go on, ``most`` at once; ``waiting`` more wait for their turn, in order."""

    def __init__(self, most: int, waiting: int) -> None:
        self.most = most
        self.waiting = waiting
        self._lines: dict[str, _Line] = {}

    @contextlib.asynccontextmanager
    async def take(self, caller: str) -> AsyncIterator[bool]:
        """Wait for a turn, and keep it for the time of the block; gives False at once where too many wait."""
        line = self._lines.setdefault(caller, _Line(asyncio.Semaphore(self.most)))
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
                del self._lines[caller]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
