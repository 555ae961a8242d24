"""Answers of any length: sent piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Streamed(Response):
    """A first piece and those that follow; their generator is closed at the end, and when the request is cancelled.

    Starlette's own watches the client a second time, and cancels again and again while a generator cleans up behind
    itself: a query that was not ended in order takes its connection with it.
    """

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(None, media_type=media_type, headers=headers)
        # How long it will be is not known.
        del self.headers["content-length"]
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it."""
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for piece in self._rest:
                if piece:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await self._rest.aclose()
