"""API keys that were valid a moment ago."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable


class KeyCache:
    """Remembers, for ``seconds``, at most ``size`` keys that were valid; only their hashes are kept.

    A revoked key works that much longer; a new one works at once, because refusals are not remembered.
    """

    def __init__(self, size: int, seconds: float, monotonic: Callable[[], float]) -> None:
        self._size = size
        self._seconds = seconds
        self._monotonic = monotonic
        self._expires: OrderedDict[bytes, float] = OrderedDict()

    def knows(self, key: str) -> bool:
        """Return whether the key was valid a moment ago."""
        return self._expires.get(_digest(key), 0.0) > self._monotonic()

    def remember(self, key: str) -> None:
        """Note that a key is valid now; the oldest is forgotten."""
        digest = _digest(key)
        self._expires[digest] = self._monotonic() + self._seconds
        self._expires.move_to_end(digest)
        while len(self._expires) > self._size:
            self._expires.popitem(last=False)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
