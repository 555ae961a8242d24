"""API keys: which were valid a moment ago, and how many requests of each are under way."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator


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


class KeyTurns:
    """Counts the requests of each key that are under way, ``most`` at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._under_way: Counter[bytes] = Counter()

    @contextlib.contextmanager
    def take(self, key: str) -> Iterator[bool]:
        """Count one more for the time of the block; gives whether it is one of the ``most``."""
        digest = _digest(key)
        if self._under_way[digest] >= self.most:
            yield False
            return
        self._under_way[digest] += 1
        try:
            yield True
        finally:
            self._under_way[digest] -= 1
            if not self._under_way[digest]:
                del self._under_way[digest]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
