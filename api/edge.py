"""The edge of the application: request ids, metrics, headers, and errors that nobody expected."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import orjson
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.caching import NOT_KEPT
from api.contract import PREFIX
from api.problems import MEDIA_TYPE, REQUEST_ID, ProblemType, problem_document
from api.rates import RATE, rate_headers
from api.telemetry import ApiMetrics

log = structlog.get_logger("api")

# What nginx counts requests under whose client went away before an answer began.
_CLIENT_GONE = 499
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


# What answers are is data: nothing of it is run or shown by a browser.
_NOTHING = "default-src 'none'; frame-ancestors 'none'"
# The documentation's page has a script and a style of its own within it.
_OURS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

# A browser that came by HTTPS once comes by nothing else for a year.
_YEAR_OF_HTTPS = "max-age=31536000"


class Edge:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; an error is logged with the request's id and answered without its insides."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ACCEPTABLE_ID.fullmatch(given) else uuid.uuid4().hex
        scope[REQUEST_ID] = request_id
        rate: list[Any] = []
        scope[RATE] = rate  # of one object, because others go on with copies of the scope
        began = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                _add_headers(headers, scope["path"], request_id)
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = _YEAR_OF_HTTPS
                if rate:
                    headers.update(rate_headers(*rate))
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            log.exception("request failed", request_id=request_id, path=scope["path"])
            if status:
                raise  # too late for an answer: the server cuts the connection
            await _send_internal_error(scope["path"], request_id, send_with_headers)
        finally:
            template = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.observe(
                scope["method"], template, status or _CLIENT_GONE, time.perf_counter() - began
            )


def _add_headers(headers: MutableHeaders, path: str, request_id: str) -> None:
    headers["X-Request-ID"] = request_id
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["X-Frame-Options"] = "DENY"
    headers.setdefault("Content-Security-Policy", _NOTHING if path.startswith(PREFIX) else _OURS)
    if path.startswith(PREFIX):
        headers.setdefault("Cache-Control", NOT_KEPT)


async def _send_internal_error(path: str, request_id: str, send: Send) -> None:
    detail = "an unexpected error, which is logged; tell the operator this request_id"
    body = orjson.dumps(problem_document(ProblemType.INTERNAL, detail, path, request_id))
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": ProblemType.INTERNAL.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
