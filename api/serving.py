"""How the application is served over HTTP: no connection waits for ever, and none is one too many."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
import socket
from collections.abc import Callable
from typing import Any, Protocol

import orjson
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.line import Line
from api.problems import MEDIA_TYPE, ProblemType, problem_document


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a connection may take of the server; a proxy in front has all of one address."""

    connections: int = 2048
    per_address: int = 1024
    head_seconds: float = 10.0  # from a connection, or the first byte, to the end of a request's head
    head_bytes: int = 65_536
    stalled_seconds: float = 60.0  # that a client takes nothing of its answer


class Refused(enum.StrEnum):
    """Why a connection was ended."""

    TOO_MANY = "too_many"
    HEAD_TOO_SLOW = "head_too_slow"
    HEAD_TOO_LARGE = "head_too_large"


class ConnectionCounts(Protocol):
    """Metrics of connections."""

    def count_connections(self, count: Callable[[], int]) -> None:
        """Ask ``count`` how many connections are open."""

    def refuse_connection(self, reason: str) -> None:
        """Count one connection that was ended by a limit."""


def serving(app: Starlette, limits: ConnectionLimits | None = None, **more: Any) -> uvicorn.Config:
    """Return the configuration of a server for an application whose ``state.metrics`` counts connections; ``more`` is
    uvicorn's own."""
    settings: dict[str, Any] = {
        "http": bounded(limits or ConnectionLimits(), app.state.metrics),
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # Else everybody on this machine could say to be another address.
        "proxy_headers": False,
        "timeout_graceful_shutdown": 5,
    }
    return uvicorn.Config(app, **settings | more)


def bounded(limits: ConnectionLimits, metrics: ConnectionCounts) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol with limits: of itself it waits for ever for the head of a request."""
    of_address: collections.Counter[str] = collections.Counter()
    metrics.count_connections(of_address.total)

    class Bounded(HttpToolsProtocol):
        _head: asyncio.TimerHandle | None = None  # while it has not all come
        _head_bytes = 0
        _is_in_head = False
        _address: str | None = None
        _line: Line | None = None  # of the last request

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            address = self.client[0] if self.client else "unknown"
            if of_address.total() >= limits.connections or of_address[address] >= limits.per_address:
                self._refuse(Refused.TOO_MANY)
                return
            of_address[address] += 1
            self._address = address
            _give_up_when_stalled(transport, limits.stalled_seconds)
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._head_is_here()
            if self._address is not None:
                of_address[self._address] -= 1
                if not of_address[self._address]:
                    del of_address[self._address]

        def data_received(self, data: bytes) -> None:
            # Between two requests; what still comes of the last one's body is not waited for either.
            if self._head is None and self._is_between_requests():
                self._await_head()
            self._head_bytes += len(data)
            super().data_received(data)
            if self._head is not None and self._head_bytes > limits.head_bytes:
                self._refuse(
                    Refused.HEAD_TOO_LARGE,
                    ProblemType.HEAD_TOO_LARGE,
                    f"path and headers are more than {limits.head_bytes} bytes; send fewer or shorter ones",
                )

        def on_message_begin(self) -> None:
            self._is_in_head = True
            # One that is sent while the last one is answered.
            if self._head is None:
                self._await_head()
            super().on_message_begin()
            self._line = Line(self.transport.abort)
            self._line.put_into(self.scope)

        def shutdown(self) -> None:
            super().shutdown()
            if self._line is not None:
                self._line.close()

        def on_header(self, name: bytes, value: bytes) -> None:
            # What follows a body in parts is no part of the head: uvicorn would add it, without bound, to the headers
            # of a request that is being answered.
            if self._is_in_head:
                super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._is_in_head = False
            self._head_is_here()
            super().on_headers_complete()

        def _is_between_requests(self) -> bool:
            cycle: RequestResponseCycle | None = self.cycle
            return cycle is None or cycle.response_complete

        def _await_head(self) -> None:
            self._head_bytes = 0
            self._head = self.loop.call_later(limits.head_seconds, self._give_up)

        def _head_is_here(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

        def _give_up(self) -> None:
            self._head = None
            detail = f"the request's head did not come within {limits.head_seconds:g} s; send it at once"
            # A browser opens connections that it may never use: to those nothing is said.
            told = ProblemType.TOO_SLOW if self._head_bytes else None
            self._refuse(Refused.HEAD_TOO_SLOW, told, detail)

        def _refuse(self, why: Refused, problem: ProblemType | None = None, detail: str = "") -> None:
            metrics.refuse_connection(why)
            self._head_is_here()
            if problem is not None and self._is_between_requests():
                self.transport.write(_answer(problem, detail))
            self.transport.close()

    return Bounded


def _answer(problem: ProblemType, detail: str) -> bytes:
    body = orjson.dumps(problem_document(problem, detail, "", ""))
    head = (
        f"HTTP/1.1 {problem.status} {problem.title}\r\ncontent-type: {MEDIA_TYPE}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def _give_up_when_stalled(transport: asyncio.Transport, seconds: float) -> None:
    """Let the system end a connection whose other end takes nothing."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
