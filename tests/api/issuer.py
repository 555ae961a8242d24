"""An OpenID Connect issuer on a real socket, with real keys; a test makes it lie, forget or fail."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import secrets
import urllib.parse
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from stack.ports import free_port

Claims = dict[str, Any]

CLIENT_ID, CLIENT_SECRET = "alatau", "a secret: of the client/1"


@dataclasses.dataclass(frozen=True, slots=True)
class Keys:
    """Keys as issuers have them, made once: that takes a while."""

    rsa: RSAKey = dataclasses.field(default_factory=lambda: RSAKey.generate_key(2048))
    ec: ECKey = dataclasses.field(default_factory=lambda: ECKey.generate_key("P-256"))
    ed: OKPKey = dataclasses.field(default_factory=lambda: OKPKey.generate_key("Ed25519"))
    other: RSAKey = dataclasses.field(default_factory=lambda: RSAKey.generate_key(2048))


@dataclasses.dataclass(slots=True)
class Issuer:
    """Who lets in ``person``. What it does wrong is set by a test, and ``reset`` makes it honest again."""

    url: str
    keys: Keys
    redirect_uri: str
    now: Callable[[], int]
    person: Claims = dataclasses.field(default_factory=dict)
    published: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    # From the claims that are right to the ID token; from its own description to what it tells.
    make_token: Callable[[Claims], str] = dataclasses.field(init=False)
    describe: Callable[[Claims], object] = dataclasses.field(init=False)
    answers: dict[str, Response] = dataclasses.field(default_factory=dict)  # by path, in the place of its own
    asked: list[str] = dataclasses.field(default_factory=list)
    codes: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    ignores_verifier: bool = False
    access_token: str = "an-access-token"

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Be honest, and let in somebody new."""
        self.person = {"sub": secrets.token_hex(8), "groups": ["staff", "analysts"]}
        self.publish(rsa=self.keys.rsa, ec=self.keys.ec, ed=self.keys.ed)
        self.make_token = lambda claims: self.sign(claims, "RS256", self.keys.rsa, "rsa")
        self.describe = lambda told: told
        self.answers.clear()
        self.asked.clear()
        self.codes.clear()
        self.ignores_verifier = False

    def publish(self, **keys: Key) -> None:
        """Have these public keys, by id, and no others."""
        self.published = [
            {**key.as_dict(private=False), "kid": kid, "use": "sig"} for kid, key in keys.items()
        ]

    def sign(self, claims: Claims, algorithm: str, key: Key, kid: str | None) -> str:
        """Return a token of these claims."""
        header = {"alg": algorithm} | ({} if kid is None else {"kid": kid})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # EdDSA is an older name of Ed25519
            return jwt.encode(header, claims, key, algorithms=[algorithm])

    def lies(self, **claims: object) -> None:
        """Sign tokens with these claims changed; None leaves one out."""

        def make(right: Claims) -> str:
            changed = {name: value for name, value in (right | claims).items() if value is not None}
            return self.sign(changed, "RS256", self.keys.rsa, "rsa")

        self.make_token = make

    def app(self) -> Starlette:
        """Return what is served."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._configuration),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
            ]
        )

    def _seen(self, request: Request) -> Response | None:
        self.asked.append(request.url.path)
        return self.answers.get(request.url.path)

    async def _configuration(self, request: Request) -> Response:
        told = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "code_challenge_methods_supported": ["S256"],
        }
        return self._seen(request) or JSONResponse(self.describe(told))

    async def _authorize(self, request: Request) -> Response:
        """Let the person in at once, and send the browser back with a code."""
        query = dict(request.query_params)
        wrong = [
            name
            for name, value in {
                "response_type": "code",
                "client_id": CLIENT_ID,
                "redirect_uri": self.redirect_uri,
                "code_challenge_method": "S256",
            }.items()
            if query.get(name) != value
        ]
        if (
            wrong
            or len(query.get("code_challenge", "")) != 43
            or not query.get("nonce")
            or not query.get("state")
        ):
            return JSONResponse({"error": "invalid_request", "wrong": wrong}, 400)
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        back = urllib.parse.urlencode({"code": code, "state": query["state"]})
        return self._seen(request) or RedirectResponse(f"{self.redirect_uri}?{back}", 303)

    async def _token(self, request: Request) -> Response:
        if (answer := self._seen(request)) is not None:
            return answer
        form = {name: str(value) for name, value in urllib.parse.parse_qsl((await request.body()).decode())}
        if self._client_of(request, form) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        code = form.get("code", "")
        asked = self.codes.pop(code, None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        is_proven = self.ignores_verifier or (asked is not None and asked["code_challenge"] == challenge)
        if asked is None or not is_proven or form.get("redirect_uri") != self.redirect_uri:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = self.now()
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        token = self.make_token(claims | self.person)
        return JSONResponse({"id_token": token, "access_token": self.access_token, "token_type": "Bearer"})

    def _client_of(self, request: Request, form: dict[str, str]) -> tuple[str, str]:
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        if scheme != "Basic":
            return form.get("client_id", ""), form.get("client_secret", "")
        name, _, secret = base64.b64decode(shown).decode().partition(":")
        return urllib.parse.unquote_plus(name), urllib.parse.unquote_plus(secret)

    async def _keys(self, request: Request) -> Response:
        return self._seen(request) or JSONResponse({"keys": self.published})


@contextlib.asynccontextmanager
async def running_issuer(keys: Keys, redirect_uri: str, now: Callable[[], int]) -> AsyncIterator[Issuer]:
    """Serve an issuer on the loopback address."""
    port = free_port()
    issuer = Issuer(f"http://127.0.0.1:{port}", keys, redirect_uri, now)
    server = uvicorn.Server(
        uvicorn.Config(
            issuer.app(), port=port, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1
        )
    )
    task = asyncio.create_task(server.serve(), name="test.issuer")
    try:
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
        yield issuer
    finally:
        server.should_exit = True
        await task
