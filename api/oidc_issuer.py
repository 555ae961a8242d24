"""What is asked of the issuer: what it says of itself, its keys, and a token for a code. It is not trusted to be up."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import ipaddress
import math
import ssl
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import httpx2
import orjson
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from api.oidc_options import OidcOptions
from sensors.errors import AlatauError

T = TypeVar("T")

_LEAST_RSA_BITS = 2048
# As it is: what is compressed may be far larger than what was counted.
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class IssuerError(AlatauError):
    """The issuer can't be asked; ``IssuerAwayError`` and ``IssuerWrongError`` say whether that may pass by itself."""


class IssuerAwayError(IssuerError):
    """It is down, slow or has too much to do."""


class IssuerWrongError(IssuerError):
    """Its answer is none that it should have given."""


class CodeRefusedError(AlatauError):
    """The issuer gives nothing for this code: it was used, is too old, or is another's."""


@dataclasses.dataclass(frozen=True, slots=True)
class Metadata:
    """What the issuer says of itself."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    takes_secret_in_body: bool
    names_itself: bool  # in what it sends people back with, RFC 9207


@dataclasses.dataclass(frozen=True, slots=True)
class Tokens:
    """What the issuer gave for a code."""

    id_token: str
    access_token: str | None


class _Kept(Generic[T]):
    """An answer that is kept for some time; one that failed is not asked for again at once. One asks at a time."""

    def __init__(
        self, fetch: Callable[[], Awaitable[T]], options: OidcOptions, monotonic: Callable[[], float]
    ) -> None:
        self._fetch = fetch
        self._options = options
        self._monotonic = monotonic
        self._turn = asyncio.Lock()
        self._value: T | None = None
        self._error: IssuerError | None = None
        self._asked_at = -math.inf

    async def get(self, is_enough: Callable[[T], bool] = lambda _: True) -> T:
        """Return the answer, asked for anew where it is old or not enough; it may still not be. Raises IssuerError."""
        async with self._turn:
            age = self._monotonic() - self._asked_at
            if age < self._options.again_seconds and self._error is not None:
                raise type(self._error)(str(self._error))
            is_good = self._value is not None and age < self._options.keep_seconds and is_enough(self._value)
            if not is_good and age >= self._options.again_seconds:
                await self._ask_anew()
            return cast("T", self._value)

    async def _ask_anew(self) -> None:
        # Who goes away while it is asked changes nothing: the next one asks.
        try:
            value = await self._fetch()
        except IssuerError as error:
            self._value, self._error, self._asked_at = None, error, self._monotonic()
            raise
        self._value, self._error, self._asked_at = value, None, self._monotonic()


class Issuer:
    """An HTTP client of one issuer; ``async with`` opens and closes it."""

    def __init__(self, options: OidcOptions, monotonic: Callable[[], float]) -> None:
        self._options = options
        self._metadata = _Kept(self._fetch_metadata, options, monotonic)
        self._keys = _Kept(self._fetch_keys, options, monotonic)
        self._client: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        # The system's authorities, or those of SSL_CERT_FILE; nothing else of the environment: .netrc has passwords.
        self._client = httpx2.AsyncClient(
            verify=ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
            timeout=self._options.timeout_seconds,
            limits=httpx2.Limits(max_connections=self._options.requests_at_once),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def metadata(self) -> Metadata:
        """Return what the issuer says of itself. Raises IssuerError."""
        return await self._metadata.get()

    async def key(self, key_id: str | None) -> Key | None:
        """Return the key of this id, of no id the only one there is; None where there is none. Raises IssuerError."""

        def find(keys: Mapping[str | None, Key]) -> Key | None:
            if key_id is None:
                return next(iter(keys.values())) if len(keys) == 1 else None
            return keys.get(key_id)

        return find(await self._keys.get(lambda keys: find(keys) is not None))

    async def exchange(self, code: str, verifier: str) -> Tokens:
        """Return the tokens for a code. Raises CodeRefusedError, IssuerError."""
        options, metadata = self._options, await self._metadata.get()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": options.redirect_uri,
            "code_verifier": verifier,
        }
        auth: tuple[str, str] | None = None
        if metadata.takes_secret_in_body:
            form |= {"client_id": options.client_id, "client_secret": options.client_secret}
        else:
            # RFC 6749, 2.3.1: each part is encoded as in a form before.
            auth = (
                urllib.parse.quote_plus(options.client_id),
                urllib.parse.quote_plus(options.client_secret),
            )
        status, answer = await self._ask("POST", metadata.token_endpoint, data=form, auth=auth)
        if status == 400 and answer.get("error") == "invalid_grant":
            raise CodeRefusedError("the issuer gives nothing for this code")
        if status != 200:
            raise _wrong(f"status {status}, {_told(answer.get('error'))}")
        token, access = answer.get("id_token"), answer.get("access_token")
        if not isinstance(token, str) or not (access is None or isinstance(access, str)):
            raise _wrong("no id_token is in its answer")
        return Tokens(token, access)

    async def _fetch_metadata(self) -> Metadata:
        issuer = self._options.issuer
        status, told = await self._ask("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if status != 200:
            raise _wrong(f"status {status} for what it should say of itself")
        if told.get("issuer") != issuer:
            raise _wrong(f"it calls itself {_told(told.get('issuer'))}, and not {issuer}")
        methods = told.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return Metadata(
            authorization_endpoint=_address(told, "authorization_endpoint"),
            token_endpoint=_address(told, "token_endpoint"),
            jwks_uri=_address(told, "jwks_uri"),
            takes_secret_in_body="client_secret_basic" not in methods,
            names_itself=told.get("authorization_response_iss_parameter_supported") is True,
        )

    async def _fetch_keys(self) -> Mapping[str | None, Key]:
        status, told = await self._ask("GET", (await self._metadata.get()).jwks_uri)
        keys = told.get("keys")
        if status != 200 or not isinstance(keys, list) or len(keys) > self._options.max_keys:
            raise _wrong(f"status {status}, and no list of at most {self._options.max_keys} keys")
        # Keys of no use here are none: encryption keys, and kinds that come up later.
        return {one.get("kid"): key for one in keys if isinstance(one, dict) and (key := _read_key(one))}

    async def _ask(self, method: str, url: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """Return the status and the object that was answered. Raises IssuerError."""
        if self._client is None:
            raise RuntimeError("the issuer's client is not open")
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self._options.timeout_seconds),
                self._client.stream(method, url, headers=_HEADERS, **more) as response,
            ):
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > self._options.max_answer_bytes:
                        raise _wrong(f"its answer is larger than {self._options.max_answer_bytes} bytes")
        except (TimeoutError, httpx2.TransportError) as error:
            raise IssuerAwayError(f"{url}: {error!r}") from error
        except httpx2.InvalidURL as error:
            raise _wrong(f"{url}: {error!r}") from error
        if response.status_code >= 500 or response.status_code == 429:
            raise IssuerAwayError(f"{url}: status {response.status_code}")
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise _wrong(f"{url}: status {response.status_code}, and no JSON") from error
        if not isinstance(answer, dict):
            raise _wrong(f"{url}: status {response.status_code}, and no JSON object")
        return response.status_code, answer


def _address(told: Mapping[str, Any], name: str) -> str:
    url = told.get(name)
    if not isinstance(url, str) or not is_safe(url):
        raise _wrong(f"its {name} is {_told(url)}, and no https address")
    return url


def is_safe(url: str) -> bool:
    """Return whether nobody listens on the way to a URL: https, or this machine itself."""
    try:
        parts = urllib.parse.urlsplit(url)
        parts.port  # noqa: B018 - raises where it is none
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_key(described: dict[str, Any]) -> Key | None:
    if described.get("use", "sig") != "sig" or described.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if not isinstance(described.get("kid"), str | None):
        return None
    try:
        if described["kty"] == "RSA" and _bits(described["n"]) < _LEAST_RSA_BITS:
            return None
        return JWKRegistry.import_key(described)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _bits(modulus: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(f"{modulus}==")).bit_length()


def _wrong(detail: str) -> IssuerWrongError:
    return IssuerWrongError(detail)


def _told(value: object) -> str:
    return repr(value)[:200]
