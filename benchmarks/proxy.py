"""A TCP proxy that does to a link what networks do to it: cuts, resets, delays, trickles, silence."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import struct
from collections.abc import AsyncIterator

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds: the socket closes with RST, not with FIN


@dataclasses.dataclass(eq=False, slots=True)
class _Link:
    client: socket.socket
    server: socket.socket
    silent: bool
    bytes_left: int | None = None  # until the reset in mid-packet; counted from the server to the client
    answer_cut: bool = False
    pumps: list[asyncio.Task[None]] = dataclasses.field(default_factory=list)

    def reset(self) -> None:
        """Close both ends with RST."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def close(self) -> None:
        """Close both ends, and end what carries bytes between them."""
        for pump in self.pumps:
            pump.cancel()
        self.client.close()
        self.server.close()


class Proxy:
    """Stands between a client and a server on the loopback address; passes everything until told otherwise.

    ``delay`` (s) holds each piece back, ``bytes_per_second`` narrows the way to the client. Both may be changed
    at any time, and hold for every link.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._links: set[_Link] = set()
        self._silent = False
        self._wanted: bytes | None = None
        self._bytes_left: int | None = None
        self.answers_cut = 0
        self.resets = 0
        self.port = 0
        self.delay = 0.0
        self.bytes_per_second: float | None = None

    async def accept(self) -> None:
        """Listen, on the port of the first time."""
        if self._listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        listener.settimeout(0)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener), name="proxy.accept")

    async def refuse(self) -> None:
        """Refuse new connections, as a server that is not there; links that stand stay."""
        if self._accepting is not None and self._listener is not None:
            self._accepting.cancel()
            await asyncio.wait({self._accepting})
            self._listener.close()
            self._listener = self._accepting = None

    def cut(self) -> int:
        """Reset every link; return how many."""
        cut = len(self._links)
        for link in self._links:
            link.reset()
        self._links.clear()
        return cut

    def cut_in_mid_packet(self, size: int) -> None:
        """Reset the link that next brings the client so many bytes, after exactly these."""
        self._bytes_left = size

    def cut_answer_to(self, request: bytes) -> None:
        """Reset the link whose client next sends ``request``, once the server has answered; drop the answer."""
        self._wanted = request

    def silence(self) -> None:
        """Let every link, also new ones, swallow what comes from both sides: no byte, no FIN, no RST."""
        self._silent = True
        for link in self._links:
            link.silent = True

    def restore(self) -> None:
        """Pass everything again on new links; those that were silenced stay half open for ever."""
        self._silent = False
        self.delay, self.bytes_per_second = 0.0, None
        self._wanted = self._bytes_left = None

    async def close(self) -> None:
        """Stop, and reset what still stands."""
        await self.refuse()
        pumps = {pump for link in self._links for pump in link.pumps}
        self.cut()
        if pumps:
            await asyncio.wait(pumps)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            client.settimeout(0)
            server = socket.socket()
            server.settimeout(0)
            try:
                await loop.sock_connect(server, ("127.0.0.1", self._target))
            except OSError:
                client.close()
                server.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(client, server, self._silent)
            self._links.add(link)
            link.pumps = [
                asyncio.create_task(self._pump(link, client, server), name="proxy.up"),
                asyncio.create_task(self._pump(link, server, client), name="proxy.down"),
            ]

    async def _pump(self, link: _Link, source: socket.socket, target: socket.socket) -> None:
        loop, is_up = asyncio.get_running_loop(), source is link.client
        try:
            while data := await loop.sock_recv(source, _CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if link.silent:
                    continue
                if is_up:
                    self._look_for_request(link, data)
                    await loop.sock_sendall(target, data)
                elif not await self._bring(link, data):
                    return
        except OSError:
            pass
        # Who closes a half-open link is not heard at its other end.
        if not link.silent:
            self._links.discard(link)
            link.close()

    def _look_for_request(self, link: _Link, data: bytes) -> None:
        if self._wanted is not None and self._wanted in data:
            self._wanted, link.answer_cut = None, True

    async def _bring(self, link: _Link, data: bytes) -> bool:
        """Bring the client what the server said; return False when that ended the link."""
        if link.answer_cut:
            self.answers_cut += 1
        elif self._bytes_left is not None and len(data) >= self._bytes_left:
            await asyncio.get_running_loop().sock_sendall(link.client, data[: self._bytes_left])
            self._bytes_left = None
            self.resets += 1
        else:
            if self._bytes_left is not None:
                self._bytes_left -= len(data)
            await self._send_down(link.client, data)
            return True
        self._links.discard(link)
        link.reset()
        return False

    async def _send_down(self, client: socket.socket, data: bytes) -> None:
        loop, position = asyncio.get_running_loop(), 0
        while self.bytes_per_second is not None and position < len(data):
            piece = max(1, int(self.bytes_per_second / 50))
            await loop.sock_sendall(client, data[position : position + piece])
            position += piece
            await asyncio.sleep(piece / self.bytes_per_second)
        await loop.sock_sendall(client, data[position:])


@contextlib.asynccontextmanager
async def proxy(target: int) -> AsyncIterator[Proxy]:
    """Run a proxy before a port of the loopback address."""
    between = Proxy(target)
    await between.accept()
    try:
        yield between
    finally:
        await between.close()
