"""Who receives alerts: an HTTP server and a mail server on real sockets, that do what a test says."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import email
import email.message
import email.policy
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

SECONDS = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = orjson.loads(self.body)
        return content

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclasses.dataclass(slots=True)
class Hook:
    """An HTTP server that notes what it gets; ``answers`` are of the next requests, and then ``answer`` of each."""

    port: int = 0
    answer: str = "200 OK"
    answers: list[str] = dataclasses.field(default_factory=list)
    body: bytes = b""
    header: str = ""
    refused: bytes = b"nothing"  # what has this in it gets 500
    received: list[Received] = dataclasses.field(default_factory=list)
    held: asyncio.Event | None = None  # nothing is answered before it is set
    _came: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def until(self, count: int) -> list[Received]:
        """Wait until so many have come, and return all."""
        async with asyncio.timeout(SECONDS):
            while len(self.received) < count:
                self._came.clear()
                await self._came.wait()
        return self.received

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            raw = dict(line.split(": ", 1) for line in head[1:] if line)
            signature = next((value for name, value in raw.items() if name == "webhook-signature"), "")
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.received.append(
                Received(head[0].split()[1], {**headers, "webhook-signature": signature}, body)
            )
            self._came.set()
            if self.held is not None:
                await self.held.wait()
            status = self.answers.pop(0) if self.answers else self.answer
            status = "500 No" if self.refused in body else status
            answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(self.body)}\r\n{self.header}\r\n"
            writer.write(answer.encode() + self.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass


@contextlib.asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve connections on a free port of 127.0.0.1, and lend the port; what is open then is cut at the end."""
    open_: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_.add(task)
        task.add_done_callback(open_.discard)
        try:
            await serve(reader, writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(open_):
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)
        await server.wait_closed()


@contextlib.asynccontextmanager
async def hook(tls: ssl.SSLContext | None = None, **given: Any) -> AsyncIterator[Hook]:
    """Lend a running receiver of webhooks."""
    receiver = Hook(**given)
    async with listening(receiver.serve, tls) as receiver.port:
        yield receiver


@dataclasses.dataclass(slots=True)
class Mailbox:
    """A mail server (RFC 5321) that keeps what it gets; ``says`` are its answers other than usual, by command."""

    tls: ssl.SSLContext | None = None  # for STARTTLS, which it then offers
    port: int = 0
    says: dict[str, str] = dataclasses.field(default_factory=dict)
    mails: list[email.message.EmailMessage] = dataclasses.field(default_factory=list)
    recipients: list[str] = dataclasses.field(default_factory=list)
    users: list[str] = dataclasses.field(default_factory=list)
    commands: list[str] = dataclasses.field(default_factory=list)
    encrypted: list[bool] = dataclasses.field(default_factory=list)  # of each mail
    judge: Callable[[bytes], str] = lambda _: "250 kept"  # what is said of a mail; none but of 250 is kept
    _came: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    async def until(self, count: int) -> list[email.message.EmailMessage]:
        """Wait until so many have come, and return all."""
        async with asyncio.timeout(SECONDS):
            while len(self.mails) < count:
                self._came.clear()
                await self._came.wait()
        return self.mails

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            writer.write(b"220 mail.example ESMTP\r\n")
            while (line := (await reader.readline()).decode().strip()) and await self._do(
                line, reader, writer
            ):
                await writer.drain()

    async def _do(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        command, _, rest = line.partition(" ")
        command = command.upper()
        self.commands.append(command)
        if (said := self.says.get(f"{command} {rest}") or self.says.get(command)) is not None:
            writer.write(f"{said}\r\n".encode())
        elif command == "EHLO":
            is_secure = writer.get_extra_info("ssl_object") is not None
            offers = ["STARTTLS"] if self.tls and not is_secure else ["AUTH PLAIN"]
            lines = ["250-mail.example", *(f"250-{offer}" for offer in offers), "250 8BITMIME"]
            writer.write("".join(f"{line}\r\n" for line in lines).encode())
        elif command == "STARTTLS" and self.tls is not None:
            writer.write(b"220 go on\r\n")
            await writer.drain()
            await writer.start_tls(self.tls)
        elif command == "AUTH":
            self.users.append(base64.b64decode(rest.partition(" ")[2]).decode())
            writer.write(b"235 you are\r\n")
        elif command == "DATA":
            writer.write(b"354 go on\r\n")
            raw = await reader.readuntil(b"\r\n.\r\n")
            verdict = self.judge(raw)
            writer.write(f"{verdict}\r\n".encode())
            if not verdict.startswith("250"):
                return True
            self.mails.append(
                email.message_from_bytes(raw[:-5].replace(b"\r\n..", b"\r\n."), policy=email.policy.default)
            )
            self.encrypted.append(writer.get_extra_info("ssl_object") is not None)
            self._came.set()
        elif command == "QUIT":
            writer.write(b"221 bye\r\n")
            return False
        else:
            if command == "RCPT":
                self.recipients.append(rest.removeprefix("TO:").strip("<>"))
            writer.write(b"250 yes\r\n")
        return True


@contextlib.asynccontextmanager
async def mailbox(tls: ssl.SSLContext | None = None, **given: Any) -> AsyncIterator[Mailbox]:
    """Lend a running mail server; ``tls`` is from the first byte on."""
    box = Mailbox(**given)
    async with listening(box.serve, tls) as box.port:
        yield box
