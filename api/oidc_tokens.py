"""Whether an ID token is the one that was asked for: who signed it, for whom, when, and for which sign-in."""

from __future__ import annotations

import base64
import dataclasses
import enum
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import ClaimError, JoseError, UnsupportedAlgorithmError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from api.oidc_issuer import Issuer
from api.oidc_options import OidcOptions
from sensors.errors import AlatauError

# Which signatures are taken, each with the kind of key it takes, the curve, and the hash that at_hash is made with.
# All are asymmetric: with HS* whoever knows the public key, or the client's secret, could sign.
_ALGORITHMS = {
    "RS256": ("RSA", None, hashlib.sha256),
    "PS256": ("RSA", None, hashlib.sha256),
    "ES256": ("EC", "P-256", hashlib.sha256),
    "EdDSA": ("OKP", "Ed25519", hashlib.sha512),
    "Ed25519": ("OKP", "Ed25519", hashlib.sha512),
}
_LONGEST_SUBJECT = 255


class Fault(enum.StrEnum):
    """Why a sign-in elsewhere came to nothing; the record and the metric have it, people are told less."""

    FLOW = "flow"  # not begun in this browser, or too long ago
    STATE = "state"
    DENIED = "denied"  # the issuer says no
    CODE = "code"
    ALGORITHM = "algorithm"
    KEY = "key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    PARTY = "authorized_party"
    TIME = "time"
    NONCE = "nonce"
    ACCESS_TOKEN = "access_token"  # noqa: S105 - at_hash is of another one
    SUBJECT = "subject"
    ROLE = "no_role"
    DISABLED = "disabled"
    AWAY = "issuer_away"
    WRONG = "issuer_wrong"


class NotTrustedError(AlatauError):
    """A token that is not taken, and why."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """Which sign-in a token has to be of."""

    nonce: str
    access_token: str | None
    now: int  # Unix time, s


class _Registry(JWSRegistry):
    """joserfc's, without its warning of the name EdDSA, which issuers still use."""

    def get_alg(self, name: str) -> Any:
        """Return an algorithm that is taken."""
        if name not in _ALGORITHMS:
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]


# What is not known in a header is passed over, except if it is critical.
_REGISTRY = _Registry(strict_check_header=False)
_REGISTRY.max_header_length = 4096


async def verify(token: str, issuer: Issuer, options: OidcOptions, expected: Expected) -> Mapping[str, Any]:
    """Return the claims of an ID token. Raises NotTrustedError, IssuerError."""
    try:
        header = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY).headers()
    except (JoseError, ValueError) as error:
        raise NotTrustedError(Fault.SIGNATURE, f"it is no signed token: {error}") from error
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise NotTrustedError(Fault.ALGORITHM, f"it is signed with {str(algorithm)[:40]!r}")
    if not isinstance(key_id, str | None):
        raise NotTrustedError(Fault.KEY, "its kid is no text")
    key = await issuer.key(key_id)
    if key is None:
        raise NotTrustedError(Fault.KEY, f"the issuer has no key {str(key_id)[:80]!r}")
    if not _fits(key, algorithm):
        raise NotTrustedError(Fault.ALGORITHM, f"the issuer's key {key_id!r} is not for {algorithm}")
    try:
        claims = jwt.decode(token, key, registry=_REGISTRY).claims
    except (JoseError, ValueError) as error:
        raise NotTrustedError(Fault.SIGNATURE, str(error)) from error
    _check_claims(claims, options, expected)
    _check_access_token(claims, _ALGORITHMS[algorithm][2], expected.access_token)
    return claims


def _fits(key: Key, algorithm: str) -> bool:
    kind, curve, _ = _ALGORITHMS[algorithm]
    described = key.as_dict(private=False)
    if key.key_type != kind or described.get("alg", algorithm) != algorithm:
        return False
    return curve is None or described.get("crv") == curve


_FAULTS = {
    "iss": Fault.ISSUER,
    "aud": Fault.AUDIENCE,
    "exp": Fault.TIME,
    "iat": Fault.TIME,
    "nbf": Fault.TIME,
    "nonce": Fault.NONCE,
    "sub": Fault.SUBJECT,
}


def _check_claims(claims: dict[str, Any], options: OidcOptions, expected: Expected) -> None:
    registry = JWTClaimsRegistry(
        now=expected.now,
        leeway=options.leeway,
        iss={"essential": True, "value": options.issuer},
        aud={"essential": True, "value": options.client_id},
        exp={"essential": True},
        iat={"essential": True},
        sub={"essential": True},
        nonce={"essential": True, "value": expected.nonce},
    )
    try:
        registry.validate(claims)
    except ClaimError as error:
        name = str(error.claim).partition(",")[0]
        raise NotTrustedError(_FAULTS.get(name, Fault.SIGNATURE), str(error)) from error
    # joserfc takes a list that has the value for the value.
    if claims["nonce"] != expected.nonce:
        raise NotTrustedError(Fault.NONCE, "its nonce is another one")
    subject = claims["sub"]
    if len(subject) > _LONGEST_SUBJECT or not subject.isascii() or not subject.isprintable():
        raise NotTrustedError(Fault.SUBJECT, "its subject is none that OpenID Connect allows")
    party, audience = claims.get("azp"), claims["aud"]
    if (
        party is not None or (isinstance(audience, list) and len(audience) > 1)
    ) and party != options.client_id:
        raise NotTrustedError(Fault.PARTY, f"it was made for {str(party)[:80]!r}")


def _check_access_token(claims: dict[str, Any], hashed: Any, access_token: str | None) -> None:
    """Hold ``at_hash``, if there is one, against the access token that came along: left half of its hash."""
    if (shown := claims.get("at_hash")) is None:
        return
    digest = hashed((access_token or "").encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    if not isinstance(shown, str) or not hmac.compare_digest(shown.encode(), half):
        raise NotTrustedError(Fault.ACCESS_TOKEN, "its access token is another one")
