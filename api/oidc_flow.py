"""A sign-in under way: what has to come back of it, sealed in a cookie of the browser in which it began.

Any API process opens it: the key is made of the client's secret, which they share. The cookie is gone with the first
answer that comes back; who has kept a copy has a code that the issuer takes once.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import hmac
import re
import secrets
from typing import Self

import msgspec
import orjson
from cryptography.fernet import Fernet, InvalidToken

from api.oidc_options import OidcOptions

COOKIE = "alatau_oidc"
HOME = "/sign-in"
# One slash, then what no browser reads as another host; no control characters, of which browsers leave some out.
_OWN_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,499}")


@dataclasses.dataclass(frozen=True, slots=True)
class Flow:
    """What was sent along, and where to go at the end."""

    state: str
    nonce: str
    verifier: str
    to: str

    @classmethod
    def begin(cls, to: str) -> Self:
        """Return another one, of random bits."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, to)

    @property
    def challenge(self) -> str:
        """Return what the issuer is shown of the verifier (PKCE, S256)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def seal(self, options: OidcOptions, now: dt.datetime) -> str:
        """Return it as nobody else can read or make it."""
        return _box(options).encrypt_at_time(orjson.dumps(self), int(now.timestamp())).decode()


def open_flow(sealed: str, options: OidcOptions, now: dt.datetime) -> Flow | None:
    """Return what was sealed, None where it was not by us, or too long ago."""
    try:
        text = _box(options).decrypt_at_time(
            sealed.encode(errors="surrogatepass"), options.flow_seconds, int(now.timestamp())
        )
    except InvalidToken:
        return None
    return msgspec.json.decode(text, type=Flow)


def is_own_path(path: str) -> bool:
    """Return whether a browser that is sent there stays with us."""
    return _OWN_PATH.fullmatch(path) is not None


def _box(options: OidcOptions) -> Fernet:
    label = f"alatau sign-in {options.issuer} {options.client_id}".encode()
    return Fernet(
        base64.urlsafe_b64encode(hmac.digest(options.client_secret.encode(), label, hashlib.sha256))
    )
