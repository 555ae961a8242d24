"""The exchange with one client: bodies are bounded, HEAD is GET without a body, and who goes away is not served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Only these may be cut short: what changes something is done to its end, whoever listens.
_SAFE = frozenset({"GET", "HEAD"})


class Exchange:
    """ASGI middleware. A safe request whose client goes away is cancelled, and with it its query."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, body_seconds: float) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; returns without an answer where nobody waits for one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] not in _SAFE:
            await self._app(scope, self._bounded(scope, receive), send)
        else:
            await self._serve_while_wanted(scope, receive, send)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Return ``receive`` that refuses a body beyond the limits. (Starlette's own limit answers in plain text.)"""
        length = Headers(scope=scope).get("content-length", "")
        announced = int(length) if length.isdecimal() else 0
        received, limit, seconds = 0, self._max_body_bytes, self._body_seconds
        latest = asyncio.get_running_loop().time() + seconds

        async def receive_bounded() -> Message:
            nonlocal received
            # Not asked for where it is announced as too large: who waits for "100 Continue" then sends nothing.
            if announced <= limit:
                try:
                    async with asyncio.timeout_at(latest):
                        message = await receive()
                except TimeoutError:
                    raise HTTPException(
                        408, f"the body did not come within {seconds:g} s; send it at once"
                    ) from None
                received += len(message.get("body", b""))
                if received <= limit:
                    return message
            # Of all errors only this one passes through FastAPI's reading of the body.
            raise HTTPException(413, f"the body is larger than {limit} bytes; send it in parts")

        return receive_bounded

    async def _serve_while_wanted(self, scope: Scope, receive: Receive, send: Send) -> None:
        inner = {**scope, "method": "GET"}  # the server looks at its own scope, and leaves out HEAD's body
        wanted = _Wanted(receive, send, is_head=scope["method"] == "HEAD")
        try:
            async with wanted.until_it_is_not():
                await self._app(inner, wanted.receive, wanted.send)
        finally:
            scope["route"] = inner.get("route")


class _Wanted:
    """One answer, for as long as somebody wants it."""

    def __init__(self, receive: Receive, send: Send, *, is_head: bool) -> None:
        self._receive = receive
        self._send = send
        self._is_head = is_head
        self._is_complete = False
        self._parts: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        # asyncio's own way to cancel the current task from outside and go on after the block.
        self._life = asyncio.timeout(None)

    @contextlib.asynccontextmanager
    async def until_it_is_not(self) -> AsyncIterator[None]:
        """Cancel the block when the client has gone away or has all that it asked for."""
        watch = asyncio.create_task(self._watch(), name="api.client")
        try:
            async with self._life:
                yield
        except TimeoutError:
            if not self._life.expired():
                raise
        finally:
            watch.cancel()
            await asyncio.wait([watch])

    async def _watch(self) -> None:
        while (message := await self._receive())["type"] != "http.disconnect":
            await self._parts.put(message)
        if not self._is_complete:
            self._end()
        await self._parts.put(message)

    def _end(self) -> None:
        if self._life.when() is None:
            self._life.reschedule(0)

    async def receive(self) -> Message:
        """Return the next part of the body, or that the client is gone."""
        return await self._parts.get()

    async def send(self, message: Message) -> None:
        """Send a part of the answer; of HEAD the first part of the body is the last, and an empty one."""
        if self._is_complete:
            return
        if message["type"] == "http.response.body":
            has_more = message.get("more_body", False)
            # Before it is sent: the server says "disconnected" of a request that is answered, too.
            self._is_complete = self._is_head or not has_more
            if self._is_head:
                message = {"type": "http.response.body"}
                if has_more:
                    self._end()
        await self._send(message)
