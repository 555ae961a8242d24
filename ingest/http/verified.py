"""Secrets that were right, so that each is hashed once and none is kept."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict

from storage.devices import Credential


class VerifiedSecrets:
    """Which secret was right for a user name, as an HMAC under a key of this process, and for which stored hash.

    At most ``size`` of them; the one that was used longest ago is forgotten.
    """

    def __init__(self, size: int = 100_000) -> None:
        self._size = size
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()

    def recognises(self, username: str, secret: str) -> bool:
        """Return whether a secret was right when it was last compared; it may have been replaced since."""
        known = self._known.get(username)
        return known is not None and hmac.compare_digest(known[0], self._mark(username, secret))

    def is_current(self, username: str, stored: Credential) -> bool:
        """Return whether what was right was right for what is stored now."""
        known = self._known.get(username)
        return known is not None and hmac.compare_digest(known[1], _row(stored))

    def note(self, username: str, secret: str, stored: Credential) -> None:
        """Remember that a secret is right."""
        self._known[username] = (self._mark(username, secret), _row(stored))
        self._known.move_to_end(username)
        if len(self._known) > self._size:
            self._known.popitem(last=False)

    def forget(self, username: str) -> None:
        """Forget what was right: it is no longer."""
        self._known.pop(username, None)

    def _mark(self, username: str, secret: str) -> bytes:
        return hmac.digest(self._key, f"{username}\0{secret}".encode(), "sha256")


def _row(stored: Credential) -> bytes:
    return stored.iterations.to_bytes(8) + stored.salt + stored.hash
