"""Why a request was not answered with success, as RFC 9457 problem details."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from sensors.errors import AlatauError


class Problem(enum.Enum):
    """The closed set of problems: slug, status, title. ``docs/devices/http.md`` explains each."""

    UNAUTHORIZED = ("unauthorized", 401, "The device's user name and secret are required")
    FORBIDDEN = ("forbidden", 403, "That is not allowed")
    NOT_FOUND = ("not-found", 404, "There is no such path")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "The method is not for this path")
    TOO_SLOW = ("too-slow", 408, "The request came too slowly")
    BODY_TOO_LARGE = ("body-too-large", 413, "The body is too large")
    UNSUPPORTED = ("unsupported-media-type", 415, "The body's format is not one that is read here")
    INVALID_PARAMETER = ("invalid-parameter", 422, "A parameter is not valid")
    REFUSED = ("refused", 422, "Something in the message was refused")
    TOO_MANY = ("too-many-requests", 429, "Too many wrong secrets")
    INTERNAL = ("internal", 500, "The server failed")
    UNAVAILABLE = ("unavailable", 503, "Nothing can be stored now")

    def __init__(self, slug: str, status: int, title: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title


class HttpProblemError(AlatauError):
    """An answer that is a problem; the text ends with what to do. ``members`` are the RFC's extension members."""

    def __init__(
        self,
        problem: Problem,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.headers = headers or {}
        self.members = members or {}


def unavailable(why: str, seconds: int = 5) -> HttpProblemError:
    """Return the problem of what can't be done now."""
    return HttpProblemError(
        Problem.UNAVAILABLE,
        f"{why}; send the same again in {seconds} s",
        headers={"Retry-After": str(seconds)},
    )


def as_response(error: HttpProblemError) -> Response:
    """Return the answer that a problem is."""
    problem = error.problem
    document = {
        "type": f"urn:alatau:problem:{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": error.detail,
        **error.members,
    }
    return Response(
        orjson.dumps(document),
        problem.status,
        media_type="application/problem+json",
        headers=error.headers,
    )
