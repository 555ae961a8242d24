"""Answers of any length: sent piece by piece, and given up as soon as the client is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Streamed(Response):
    """A first piece and those that follow.

    Starlette's own cancels again and again while a generator cleans up behind itself, and a query that is not
    cleaned up holds its connection; this cancels once, and then waits until the generator is closed.
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
        """Send all of it, or as much as the client stays for."""
        sending = asyncio.create_task(self._send(send), name="api.send")
        leaving = asyncio.create_task(_client_left(receive), name="api.leaving")
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            was_sent = sending.done()
            sending.cancel()
            leaving.cancel()
            await asyncio.wait({sending, leaving})
            await self._rest.aclose()
        if was_sent:
            sending.result()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._first, "more_body": True})
        async for piece in self._rest:
            if piece:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
