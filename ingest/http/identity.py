"""Who sends: a device, by the user name and the secret that it has at the broker."""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import hashlib
import hmac
from collections.abc import Awaitable, Callable

from ingest.http.problems import HttpProblemError, Problem
from ingest.http.verified import VerifiedSecrets
from sensors.networks import network_of
from sensors.rates import Buckets, Rate
from storage.devices import Credential

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="alatau", charset="UTF-8"'}
# Compared where there is no account, so that this takes as long.
_NOBODYS = Credential(bytes(12), bytes(64), 101)
_LONGEST = 1024  # characters of a user name with its secret


@dataclasses.dataclass(frozen=True, slots=True)
class GuessPolicy:
    """How often somebody may be wrong: with one user name from one address, and from one address at all.

    Many devices stand behind one address, and all of them come at once when the power is back.
    """

    each: Rate = dataclasses.field(default_factory=lambda: Rate(1 / 10, 10))
    address: Rate = dataclasses.field(default_factory=lambda: Rate(2.0, 500))
    size: int = 10_000


class Identity:
    """Lets accounts in. ``find`` returns what is stored of an account's secret now, ``monotonic`` seconds.

    It is asked at each request: who was disabled, or given another secret, is out with the next one.
    """

    def __init__(
        self,
        find: Callable[[str], Awaitable[Credential | None]],
        monotonic: Callable[[], float],
        policy: GuessPolicy | None = None,
    ) -> None:
        policy = policy or GuessPolicy()
        self._find = find
        self._verified = VerifiedSecrets()
        self._of_pairs = Buckets(policy.each, policy.size, monotonic)
        self._of_addresses = Buckets(policy.address, policy.size, monotonic)

    async def identify(self, authorization: str | None, address: str) -> str:
        """Return the user name that a request of ``address`` is let in with.

        Raises HttpProblemError, and what ``find`` raises.
        """
        username, secret = _basic(authorization)
        # A secret that was right is kept waiting by nobody who guesses behind the same address.
        known = self._verified.recognises(username, secret)
        if known:
            stored = await self._find(username)
            if stored is not None and self._verified.is_current(username, stored):
                return _enabled(username, stored)
            self._verified.forget(username)
        return await self._compare(username, secret, network_of(address))

    async def _compare(self, username: str, secret: str, network: str) -> str:
        pair = f"{network} {username}"
        for buckets, name in ((self._of_pairs, pair), (self._of_addresses, network)):
            if buckets.is_empty(name):
                raise _too_often(max(1, buckets.take(name).wait))
        # Counted before, so that many at once are not one.
        self._of_pairs.take(pair)
        self._of_addresses.take(network)
        stored = await self._find(username)
        is_right = await asyncio.to_thread(_matches, stored or _NOBODYS, secret)
        if not is_right or stored is None:
            raise _unauthorized("user name and secret don't belong together; give those of the device")
        self._of_pairs.give_back(pair)
        self._of_addresses.give_back(network)
        self._verified.note(username, secret, stored)
        return _enabled(username, stored)


def _matches(stored: Credential, secret: str) -> bool:
    digest = hashlib.pbkdf2_hmac("sha512", secret.encode(), stored.salt, stored.iterations)
    return hmac.compare_digest(digest, stored.hash)


def _enabled(username: str, stored: Credential) -> str:
    if stored.is_disabled:
        raise HttpProblemError(
            Problem.FORBIDDEN, f"{username} is disabled; ask an operator to enable the device"
        )
    return username


def _basic(authorization: str | None) -> tuple[str, str]:
    """Return user name and secret of a header. Source: RFC 7617."""
    if authorization is None:
        raise _unauthorized("send the device's user name and secret: curl --user ID:SECRET …")
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "basic" or len(given) > 2 * _LONGEST:
        raise _unauthorized("the header Authorization is not of HTTP Basic; send user name and secret so")
    try:
        text = base64.b64decode(given.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise _unauthorized("the header Authorization is not base64 of UTF-8; encode ID:SECRET") from None
    # The RFC knows no user names with a colon; ids of devices may have one, and secrets have none.
    username, colon, secret = text.rpartition(":")
    if not colon or not username or not secret:
        raise _unauthorized("the header Authorization lacks a user name or a secret; encode ID:SECRET")
    return username, secret


def _unauthorized(detail: str) -> HttpProblemError:
    return HttpProblemError(Problem.UNAUTHORIZED, detail, headers=_CHALLENGE)


def _too_often(seconds: int) -> HttpProblemError:
    return HttpProblemError(
        Problem.TOO_MANY,
        f"too many wrong secrets; wait {seconds} s, and send the device's own",
        headers={"Retry-After": str(seconds)},
    )
