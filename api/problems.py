"""Errors as RFC 9457 problem details: what is wrong, what is valid, what to do instead."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.contract import allowed_methods, body_fields, operation_names
from sensors.errors import AlatauError, did_you_mean, nearest

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = "alatau.request_id"  # its key in the scope


class ProblemType(enum.Enum):
    """The closed set of problems: slug, status, title."""

    UNAUTHORIZED = ("unauthorized", 401, "A key or a session is required")
    FORBIDDEN = ("forbidden", 403, "That is not allowed")
    NOT_FOUND = ("not-found", 404, "There is no such thing")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "The method is not for this path")
    NOT_ACCEPTABLE = ("not-acceptable", 406, "No format that is accepted can be given")
    TOO_SLOW = ("too-slow", 408, "The request came too slowly")
    CONFLICT = ("conflict", 409, "It exists already")
    HAS_READINGS = ("has-readings", 409, "It has readings")
    ROTATING = ("rotation-under-way", 409, "It has two secrets already")
    NOT_READY = ("not-ready", 409, "It is not ready")
    BODY_TOO_LARGE = ("body-too-large", 413, "The body is too large")
    OUT_OF_RANGE = ("out-of-range", 416, "The file has no such bytes")
    INVALID_PARAMETER = ("invalid-parameter", 422, "A parameter is not valid")
    UNKNOWN_PARAMETER = ("unknown-parameter", 422, "A parameter is not known")
    INVALID_BODY = ("invalid-body", 422, "The body is not valid")
    TOO_LARGE = ("too-large", 422, "The answer would be too large")
    TOO_MANY = ("too-many-requests", 429, "Too many requests")
    HEAD_TOO_LARGE = ("head-too-large", 431, "The head of the request is too large")
    INTERNAL = ("internal", 500, "The server failed")
    ISSUER_WRONG = ("issuer-wrong", 502, "The identity provider answers wrongly")
    UNAVAILABLE = ("unavailable", 503, "The service is not available now")
    TIMEOUT = ("timeout", 504, "The query took too long")

    def __init__(self, slug: str, status: int, title: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title


class ProblemError(AlatauError):
    """An answer that is a problem; ``members`` are the RFC's extension members."""

    def __init__(
        self, kind: ProblemType, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = headers or {}
        self.members = members


def unavailable(detail: str, retry_after_seconds: int = 2, **members: Any) -> ProblemError:
    """Return the problem of something that is away and may come back."""
    return ProblemError(
        ProblemType.UNAVAILABLE, detail, headers={"Retry-After": str(retry_after_seconds)}, **members
    )


def invalid_parameter(name: str, detail: str, **members: Any) -> ProblemError:
    """Return the problem of one parameter."""
    return ProblemError(ProblemType.INVALID_PARAMETER, f"{name}: {detail}", parameter=name, **members)


def unknown_value(name: str, value: str, valid: Iterable[str]) -> ProblemError:
    """Return the problem of a value that is none of the valid ones; names the nearest."""
    choices = sorted(valid)
    detail = f'"{value[:80]}" is not known; {did_you_mean(value, choices)}'
    return invalid_parameter(name, detail, nearest=_first(nearest(value, choices)), valid=choices[:100])


def _first(values: list[str]) -> str | None:
    return values[0] if values else None


def problem_document(kind: ProblemType, detail: str, instance: str, request_id: str | None) -> dict[str, Any]:
    """Return the members that every problem has."""
    return {
        "type": f"urn:alatau:problem:{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": instance,
        "request_id": request_id,
    }


def respond(request: Request, problem: ProblemError) -> Response:
    """Return the answer that a problem is."""
    document = problem_document(
        problem.kind, problem.detail, request.url.path, request.scope.get(REQUEST_ID)
    ) | {name: value for name, value in problem.members.items() if value is not None}
    return Response(
        orjson.dumps(document), problem.kind.status, media_type=MEDIA_TYPE, headers=problem.headers
    )


async def _on_problem(request: Request, error: Exception) -> Response:
    if not isinstance(error, ProblemError):
        raise error
    return respond(request, error)


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        allowed = allowed_methods(request) or [(error.headers or {}).get("Allow", "")]
        detail = f"{request.method} is not for {request.url.path[:200]}; use {' or '.join(allowed)}"
        headers = {"Allow": ", ".join(allowed)}
        return respond(
            request, ProblemError(ProblemType.METHOD_NOT_ALLOWED, detail, headers=headers, valid=allowed)
        )
    for kind in (ProblemType.BODY_TOO_LARGE, ProblemType.TOO_SLOW):
        if error.status_code == kind.status:
            return respond(request, ProblemError(kind, str(error.detail)))
    if error.status_code == 404:
        paths = sorted(request.app.openapi()["paths"])
        detail = f"{request.url.path[:200]} is not a path; {did_you_mean(request.url.path, paths)}"
        return respond(
            request, ProblemError(ProblemType.NOT_FOUND, detail, nearest=_near_path(request, paths))
        )
    # What Starlette itself refuses: a body that is no JSON.
    return respond(request, ProblemError(ProblemType.INVALID_BODY, str(error.detail)))


def _near_path(request: Request, paths: list[str]) -> str | None:
    return _first(nearest(request.url.path, paths))


async def _on_validation(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    errors = [_explain(request, one) for one in error.errors()]
    first = errors[0]
    kind = ProblemType.INVALID_BODY if first["in"] == "body" else ProblemType.INVALID_PARAMETER
    extra = {name: first.get(name) for name in ("nearest", "valid")}
    return respond(
        request, ProblemError(kind, f"{first['name']}: {first['message']}", errors=errors, **extra)
    )


_QUOTED = re.compile(r"'([^']+)'")


def _explain(request: Request, error: Mapping[str, Any]) -> dict[str, Any]:
    place, *path = error["loc"]
    name = ".".join(map(str, path)) or "body"
    explained = {"in": place, "name": name, "message": error["msg"]}
    given = str(error.get("input"))
    valid: list[str] = []
    if error["type"] in ("enum", "literal_error"):
        valid = _QUOTED.findall(error["ctx"]["expected"])
    elif error["type"] == "extra_forbidden":
        given, valid = str(path[-1]), body_fields(request)
        explained["message"] = f"is not a field; {did_you_mean(given, valid)}"
    elif error["type"] == "json_invalid":
        explained["message"] = f"is not JSON: {error['ctx']['error']}"
    if valid:
        explained |= {"valid": valid, "nearest": _first(nearest(given, valid))}
    return explained


async def refuse_unknown_parameters(request: Request) -> None:
    """Refuse query parameters that the route's published description does not list."""
    valid = operation_names(request, "query")
    for name in request.query_params:
        if name not in valid:
            raise ProblemError(
                ProblemType.UNKNOWN_PARAMETER,
                f'"{name[:80]}" is not a parameter of {request.url.path}; {did_you_mean(name, valid)}',
                parameter=name,
                nearest=_first(nearest(name, valid)),
                valid=sorted(valid),
            )


def install(app: FastAPI) -> None:
    """Let every error of the application be answered as a problem."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
