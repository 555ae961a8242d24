"""The cookie of a session, and what keeps other sites from using it: a token bound to it, and where requests start."""

from __future__ import annotations

import base64
import hashlib
import hmac
import urllib.parse

from fastapi import Request
from starlette.responses import Response

from storage.sessions import Lifetimes

COOKIE = "alatau_session"
# Browsers take a cookie of this name only over https, from the host itself, and of no subdomain.
_HOST_PREFIX = "__Host-"
CSRF_HEADER = "X-CSRF-Token"
_SAFE = frozenset({"GET", "HEAD"})


def session_token(request: Request) -> str | None:
    """Return the token of the session that a request came with."""
    return request.cookies.get(cookie_name(request)) or None


def set_cookie(request: Request, response: Response, token: str, lifetimes: Lifetimes) -> None:
    """Let the browser keep a session's token, where no script reads it."""
    response.set_cookie(
        cookie_name(request),
        token,
        max_age=round(lifetimes.whole.total_seconds()),
        path="/",
        secure=is_secure(request),
        httponly=True,
        # A strict one is not sent after the redirect from another site on which people may sign in.
        samesite="lax",
    )


def clear_cookie(request: Request, response: Response) -> None:
    """Let the browser forget the session's token."""
    response.delete_cookie(
        cookie_name(request), path="/", secure=is_secure(request), httponly=True, samesite="lax"
    )


def csrf_token(token: str) -> str:
    """Return what a script of ours shows for a session: who has it learns nothing of the session's own token."""
    digest = hmac.digest(token.encode(errors="surrogatepass"), b"alatau csrf", hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def forgery(request: Request, token: str) -> str | None:
    """Return why a request with a session's cookie is not taken as its own, None where it is or changes nothing."""
    if request.method in _SAFE:
        return None
    if (reason := foreign(request)) is not None:
        return reason
    shown = request.headers.get(CSRF_HEADER, "").encode(errors="surrogatepass")
    if not hmac.compare_digest(shown, csrf_token(token).encode()):
        return (
            f"with a session, what changes something needs its own {CSRF_HEADER}; GET /api/v1/session has it"
        )
    return None


def foreign(request: Request) -> str | None:
    """Return why a request is another site's, None where nothing says so.

    What the browser itself says of where it comes from decides; one that says nothing of that is asked for its origin,
    of which a proxy leaves the host as it is. Programs that are no browsers send neither.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        is_foreign = site not in ("same-origin", "none")
    else:
        is_foreign = origin is not None and _host(origin) != request.headers.get("host", "").lower()
    return "it comes from another site; sign in, and ask, from a page of this server" if is_foreign else None


def _host(origin: str) -> str:
    return urllib.parse.urlsplit(origin).netloc.lower()


def is_secure(request: Request) -> bool:
    """Return whether a request came over https."""
    return request.url.scheme == "https"


def cookie_name(request: Request, name: str = COOKIE) -> str:
    """Return what a cookie of ours is called; over https so that nobody else can set it."""
    return _HOST_PREFIX + name if is_secure(request) else name
