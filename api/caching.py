"""Caching: whole answers carry a validator, and a client that still has them is told so.

Nothing is fresh for a time, however long ago its range ended: late readings, corrections and retention change what
the past was. So a cache may keep an answer and has to ask each time; what is saved is the way of the bytes.
"""

from __future__ import annotations

import hashlib
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.contract import PREFIX

REVALIDATED = "private, no-cache"
NOT_KEPT = "no-store"

_TAG = re.compile(r'"[^"]*"|\*')


class Caching:
    """ASGI middleware for everything below the API's prefix; what it sends in pieces is not kept by anybody."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        known = Headers(scope=scope).get("if-none-match", "") if scope["method"] == "GET" else ""
        held: Message | None = None

        async def send_validated(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                _vary_by_format(headers)
                # Only an answer that says its length is whole; the head of a stream must not wait for its body.
                if scope["method"] == "GET" and message["status"] == 200 and "content-length" in headers:
                    held = message
                else:
                    headers.setdefault("Cache-Control", NOT_KEPT)
                    await send(message)
                return
            if held is not None:
                start, held = held, None
                if not message.get("more_body", False):
                    message = _validate(start, message, known)
                await send(start)
            await send(message)

        await self._app(scope, receive, send_validated)


def _vary_by_format(headers: MutableHeaders) -> None:
    if "accept" not in headers.get("vary", "").lower().replace(" ", "").split(","):
        headers.add_vary_header("Accept")


def _validate(start: Message, body: Message, known: str) -> Message:
    """Give an answer its validator; return the body that is left of it. Changes ``start``."""
    headers = MutableHeaders(scope=start)
    headers.setdefault("Cache-Control", REVALIDATED)
    if "etag" not in headers:
        digest = hashlib.blake2b(body.get("body", b""), digest_size=16).hexdigest()
        # Weak, because the same answer may be compressed on its way, in one form or another.
        headers["ETag"] = f'W/"{digest}"'
    if not _matches(headers["etag"], known):
        return body
    start["status"] = 304
    del headers["content-length"], headers["content-type"]
    return {"type": "http.response.body"}


def _matches(tag: str, known: str) -> bool:
    # The comparison is weak, too (RFC 9110, 13.1.2).
    return bool({tag.removeprefix("W/"), "*"} & set(_TAG.findall(known)))
