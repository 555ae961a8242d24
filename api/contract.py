"""What a request's route says of itself in the published description: one truth for both."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from pydantic import ConfigDict

# Of every body. A bound of their length lets texts be looked at, whatever it is: half of a surrogate pair is no text,
# and nobody, neither an answer nor the database, can write it.
BODY = ConfigDict(extra="forbid", allow_inf_nan=False, str_max_length=10_000)
# Of every keyed path. Each router carries its whole path: a route does not know where it was included.
PREFIX = "/api/v1"


def _path(request: Request) -> dict[str, Any]:
    route = request.scope.get("route")
    path: dict[str, Any] = request.app.openapi()["paths"].get(getattr(route, "path", ""), {})
    return path


def _operation(request: Request) -> dict[str, Any]:
    operation: dict[str, Any] = _path(request).get(request.method.lower(), {})
    return operation


def allowed_methods(request: Request) -> list[str]:
    """Return the methods of the request's path; HEAD goes wherever GET does. Empty for an unknown path."""
    methods = {method.upper() for method in _path(request)}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


def operation_names(request: Request, place: str) -> set[str]:
    """Return the names of the route's parameters in ``query``, ``path`` or ``header``."""
    return {one["name"] for one in _operation(request).get("parameters", ()) if one["in"] == place}


def body_fields(request: Request) -> list[str]:
    """Return the names of the fields of the body that the request's route takes."""
    content = _operation(request).get("requestBody", {}).get("content", {})
    reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    schemas = request.app.openapi().get("components", {}).get("schemas", {})
    return sorted(schemas.get(reference.rpartition("/")[2], {}).get("properties", ()))
