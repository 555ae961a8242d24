"""ID tokens that are not the one that was asked for: none of them lets anybody in."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from joserfc.jwk import OctKey

from api.oidc_tokens import Fault
from tests.api.elsewhere import UNIX, Entrance, attempt, sign_in
from tests.api.issuer import CLIENT_ID, CLIENT_SECRET, Claims, Issuer
from tests.cities import City

LIES: dict[str, tuple[Fault, Claims]] = {
    "the issuer is another": (Fault.ISSUER, {"iss": "https://evil.example"}),
    "the issuer is nearly the same": (Fault.ISSUER, {"iss": "{issuer}/"}),
    "the issuer is missing": (Fault.ISSUER, {"iss": None}),
    "it is for another client": (Fault.AUDIENCE, {"aud": "another-client"}),
    "it is for other clients": (Fault.AUDIENCE, {"aud": ["another-client", "alatau2"]}),
    "it is for nobody": (Fault.AUDIENCE, {"aud": None}),
    "it is for several, made for nobody": (Fault.PARTY, {"aud": [CLIENT_ID, "another-client"]}),
    "it is for several, made for another": (
        Fault.PARTY,
        {"aud": [CLIENT_ID, "another-client"], "azp": "another-client"},
    ),
    "it was made for another": (Fault.PARTY, {"azp": "another-client"}),
    "it has expired": (Fault.TIME, {"exp": UNIX - 31}),
    "it never expires": (Fault.TIME, {"exp": None}),
    "it expires at no number": (Fault.TIME, {"exp": float("nan")}),
    "it expires at a text": (Fault.TIME, {"exp": "9999999999"}),
    "it is from the future": (Fault.TIME, {"iat": UNIX + 31}),
    "it is of no time": (Fault.TIME, {"iat": None}),
    "it is not good yet": (Fault.TIME, {"nbf": UNIX + 31}),
    "its nonce is another": (Fault.NONCE, {"nonce": "another"}),
    "its nonce is missing": (Fault.NONCE, {"nonce": None}),
    "its access token is another": (Fault.ACCESS_TOKEN, {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
    "it is about nobody": (Fault.SUBJECT, {"sub": None}),
    "it is about an empty name": (Fault.SUBJECT, {"sub": ""}),
    "it is about too long a name": (Fault.SUBJECT, {"sub": "x" * 256}),
    "its subject is no text": (Fault.SUBJECT, {"sub": 7}),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_token_that_is_not_the_one_asked_for_lets_nobody_in(
    entrance: Entrance, city: City, lie: str
) -> None:
    fault, claims = LIES[lie]
    entrance.issuer.lies(
        **{
            name: value.replace("{issuer}", entrance.issuer.url) if isinstance(value, str) else value
            for name, value in claims.items()
        }
    )
    async with entrance.browser() as browser:
        told = await attempt(entrance, city, fault, await sign_in(browser))
    assert told["status"] == 401
    assert "does not prove who you are" in told["detail"]


async def test_what_is_off_by_less_than_the_leeway_is_taken_and_so_is_the_right_access_token(
    entrance: Entrance,
) -> None:
    digest = hashlib.sha256(entrance.issuer.access_token.encode()).digest()
    at_hash = base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")
    entrance.issuer.lies(
        iat=UNIX + 29, nbf=UNIX + 29, exp=UNIX - 29, at_hash=at_hash, aud=[CLIENT_ID, "b"], azp=CLIENT_ID
    )
    async with entrance.browser() as browser:
        assert (await sign_in(browser)).status_code == 303


def part(value: object) -> bytes:
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=")


def none_of(issuer: Issuer, claims: Claims) -> str:
    """A token that nobody has signed."""
    return b".".join((part({"alg": "none", "kid": "rsa"}), part(claims), b"")).decode()


def with_the_public_key(issuer: Issuer, claims: Claims) -> str:
    """A token that whoever knows the public key could have made."""
    signed = b".".join((part({"alg": "HS256", "kid": "rsa"}), part(claims)))
    digest = hmac.digest(issuer.keys.rsa.as_pem(private=False), signed, hashlib.sha256)
    return b".".join((signed, base64.urlsafe_b64encode(digest).rstrip(b"="))).decode()


def with_the_clients_secret(issuer: Issuer, claims: Claims) -> str:
    return issuer.sign(claims, "HS256", OctKey.import_key(CLIENT_SECRET), "rsa")


def with_another_key(issuer: Issuer, claims: Claims) -> str:
    return issuer.sign(claims, "RS256", issuer.keys.other, "rsa")


def with_a_key_of_its_own(issuer: Issuer, claims: Claims) -> str:
    """A token that brings the key along with which it is to be checked."""
    other = issuer.keys.other
    header = {"alg": "RS256", "kid": "rsa", "jwk": other.as_dict(private=False), "typ": "JWT"}
    signed = b".".join((part(header), part(claims)))
    signature = issuer.sign(claims, "RS256", other, "rsa").rpartition(".")[2]
    return f"{signed.decode()}.{signature}"


def with_the_key_of_another_algorithm(issuer: Issuer, claims: Claims) -> str:
    return issuer.sign(claims, "ES256", issuer.keys.ec, "rsa")


def with_a_weak_key(issuer: Issuer, claims: Claims) -> str:
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - so that it is not taken
    modulus = base64.urlsafe_b64encode(key.public_key().public_numbers().n.to_bytes(128)).decode().rstrip("=")
    issuer.published = [{"kty": "RSA", "kid": "weak", "n": modulus, "e": "AQAB"}]
    signed = b".".join((part({"alg": "RS256", "kid": "weak"}), part(claims)))
    signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return b".".join((signed, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


def with_a_key_for_another_algorithm(issuer: Issuer, claims: Claims) -> str:
    """RSA keys do for both; the issuer says which this one is for."""
    issuer.published = [{**one, "alg": "PS256"} for one in issuer.published if one["kid"] == "rsa"]
    return issuer.sign(claims, "RS256", issuer.keys.rsa, "rsa")


def with_a_key_to_encrypt(issuer: Issuer, claims: Claims) -> str:
    issuer.published = [{**one, "use": "enc"} for one in issuer.published]
    return issuer.sign(claims, "RS256", issuer.keys.rsa, "rsa")


def with_no_key_of_several(issuer: Issuer, claims: Claims) -> str:
    return issuer.sign(claims, "RS256", issuer.keys.rsa, None)


def with_a_critical_header(issuer: Issuer, claims: Claims) -> str:
    header, rest = part({"alg": "RS256", "kid": "rsa", "crit": ["exp"], "exp": 1}), part(claims)
    return f"{header.decode()}.{rest.decode()}.AAAA"


def changed_afterwards(issuer: Issuer, claims: Claims) -> str:
    header, _, signature = issuer.sign(claims, "RS256", issuer.keys.rsa, "rsa").split(".")
    return f"{header}.{part(claims | {'sub': 'somebody-else'}).decode()}.{signature}"


def nonsense(issuer: Issuer, claims: Claims) -> str:
    return "no.token"


FORGERIES: list[tuple[Callable[[Issuer, Claims], str], Fault]] = [
    (none_of, Fault.ALGORITHM),
    (with_the_public_key, Fault.ALGORITHM),
    (with_the_clients_secret, Fault.ALGORITHM),
    (with_the_key_of_another_algorithm, Fault.ALGORITHM),
    (with_a_weak_key, Fault.KEY),
    (with_a_key_for_another_algorithm, Fault.ALGORITHM),
    (with_another_key, Fault.SIGNATURE),
    (with_a_key_of_its_own, Fault.SIGNATURE),
    (with_a_critical_header, Fault.SIGNATURE),
    (changed_afterwards, Fault.SIGNATURE),
    (nonsense, Fault.SIGNATURE),
    (with_a_key_to_encrypt, Fault.KEY),
    (with_no_key_of_several, Fault.KEY),
]


@pytest.mark.parametrize(("forge", "fault"), FORGERIES, ids=lambda one: getattr(one, "__name__", str(one)))
async def test_a_forged_token_lets_nobody_in(
    entrance: Entrance, city: City, forge: Callable[[Issuer, Claims], str], fault: Fault
) -> None:
    entrance.issuer.person["groups"] = ["admins"]
    entrance.issuer.make_token = lambda claims: forge(entrance.issuer, claims)
    async with entrance.browser() as browser:
        told = await attempt(entrance, city, fault, await sign_in(browser))
    assert told["status"] == 401
