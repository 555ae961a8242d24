"""The published description (OpenAPI), completed: which errors each path answers with, and a request to try."""

from __future__ import annotations

import shlex
import urllib.parse
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI

from api.contract import PREFIX
from api.formats import Format
from api.problems import MEDIA_TYPE, ProblemType

Json = dict[str, Any]

_PROBLEM: Json = {
    "type": "object",
    "description": "A problem of RFC 9457; further members name the parameter and what is valid.",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "enum": [f"urn:alatau:problem:{one.slug}" for one in ProblemType]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "parameter": {"type": "string"},
        "nearest": {"type": "string"},
        "valid": {"type": "array", "items": {"type": "string"}},
    },
}
_FEATURES: Json = {
    "type": "object",
    "description": "A feature collection of RFC 7946; longitude before latitude, degrees, WGS 84.",
    "required": ["type", "features"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {"type": "array", "items": {"$ref": "#/components/schemas/Feature"}},
        "next": {"type": ["string", "null"], "description": "As in JSON, where there are pages."},
        "cursor": {"type": ["string", "null"], "description": "As in JSON, where there are pages."},
    },
}
_FEATURE: Json = {
    "type": "object",
    "description": "A district, a device or a reading.",
    "required": ["type", "geometry", "properties"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "Feature"},
        "id": {"type": "string", "description": "Name of the district, or the device's id."},
        "geometry": {
            "type": ["object", "null"],
            "description": "Null of a device without a position.",
            "required": ["type", "coordinates"],
            "additionalProperties": False,
            "properties": {
                "type": {"enum": ["Point", "Polygon"]},
                "coordinates": {"type": "array", "items": {}},
            },
        },
        "properties": {"type": "object", "description": "As in JSON, or as the columns of a table."},
    },
}
EVENTS = "text/event-stream"
_EVENT: Json = {
    "type": "object",
    "description": "An event; one without data only has an id to be noted, or says when to ask again.",
    "properties": {
        "event": {"type": "string", "description": "Its name."},
        "id": {"type": "string", "description": "To be sent as Last-Event-ID."},
        "retry": {"type": "integer", "minimum": 0, "description": "Milliseconds."},
    },
}
# What a parameter of this name can be, unless the route itself says so. All are true of Alatau as `up` makes it.
_EXAMPLES: Mapping[str, Any] = {
    "agg": "avg",
    "batch": "lamps-2026",
    "destination": "mqtt",
    "gateway": "lora",
    "device": "sample-air-1",
    "district": "gate",
    "end": "now",
    "kind": "air_quality",
    "metric": "pm2_5",
    "number": 1,
    "start": "-PT6H",
    "step": "PT1H",
    "tz": "Asia/Almaty",
}
# What a parameter's schema has that is needed unless others are given; it is part of the request to try.
TRIED = "x-tried"
_TOO_EARLY = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string"}}}
_KEPT: Json = {
    "ETag": {"description": "Send it as If-None-Match.", "schema": {"type": "string"}},
    "Link": {"description": 'The next page, rel="next".', "schema": {"type": "string"}},
}


def problem(status: int) -> Json:
    """Return the description of an answer that is a problem."""
    titles = "; ".join(one.title for one in ProblemType if one.status == status)
    described: Json = {
        "description": titles or "A problem",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    return described | ({"headers": _TOO_EARLY} if status in (429, 503) else {})


def install(app: FastAPI) -> None:
    """Let the application publish a description with nothing left out."""
    generate = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            _complete(generate())  # which keeps it
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: Json) -> None:
    schemas = document["components"]["schemas"]
    schemas |= {"Problem": _PROBLEM, "FeatureCollection": _FEATURES, "Feature": _FEATURE}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in _EXAMPLES and not parameter["schema"].get("examples"):
                    parameter["example"] = _EXAMPLES[parameter["name"]]
            if path.startswith(PREFIX):
                _complete_responses(path, method, operation, schemas)
            _describe_events(operation)
            _show_answers(operation, schemas)
            command = _command(path, method, operation, schemas)
            if command:
                operation["description"] = f"{operation.get('description', '')}\n\n```sh\n{command}\n```"


def _complete_responses(path: str, method: str, operation: Json, schemas: Json) -> None:
    responses = operation["responses"]
    formats = _formats(operation, schemas)
    errors = {
        401: True,
        403: True,
        404: "{" in path,
        406: bool(formats),
        408: "requestBody" in operation,
        413: "requestBody" in operation,
        422: True,
        429: True,
        503: True,
        504: True,
    }
    responses |= {str(status): problem(status) for status, can_be in errors.items() if can_be}
    if method == "get":
        responses["304"] = {"description": "What the client has, by If-None-Match, is still the answer"}
        answer = responses.setdefault("200", {"description": "The answer"})
        answer.setdefault("headers", {}).update(_KEPT)
        content = answer.setdefault("content", {})
        for format_ in formats:
            schema = {"$ref": "#/components/schemas/FeatureCollection"} if format_ is Format.GEOJSON else {}
            content.setdefault(format_.media_type, {"schema": schema})
    operation["responses"] = dict(sorted(responses.items()))


def _describe_events(operation: Json) -> None:
    """Let an answer of events say of what form each is, as OpenAPI 3.2 does; it was told that of their data."""
    for response in operation["responses"].values():
        events = response.get("content", {}).get(EVENTS)
        if events is not None:
            choices = events.pop("schema")["anyOf"]
            data = {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"anyOf": choices},
            }
            events["itemSchema"] = {**_EVENT, "properties": {**_EVENT["properties"], "data": data}}


def _show_answers(operation: Json, schemas: Json) -> None:
    for status, response in operation["responses"].items():
        described = response.get("content", {}).get(Format.JSON.media_type)
        if described and status.startswith("2"):
            described["example"] = _shown(described["schema"], schemas)


def _shown(schema: Json, schemas: Json) -> Any:
    """Return an example of a schema, put together from those of its parts; None if it has none."""
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return _shown(_named(schema["$ref"], schemas), schemas)
    if "anyOf" in schema:
        return _shown(schema["anyOf"][0], schemas)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "array":
        return [_shown(schema["items"], schemas)]
    if "propertyNames" in schema:
        return {_shown(schema["propertyNames"], schemas): _shown(schema["additionalProperties"], schemas)}
    if "properties" in schema:
        return {
            name: _shown(member, schemas)
            for name, member in schema["properties"].items()
            if name in schema.get("required", ()) or "examples" in member
        }
    return schema.get("const")


def _formats(operation: Json, schemas: Json) -> list[Format]:
    """Return the formats that the operation's parameter of this name can ask for."""
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "format":
            schema = parameter["schema"]
            choices = [
                _named(one["$ref"], schemas) if "$ref" in one else one
                for one in (schema, *schema.get("anyOf", ()))
            ]
            return [Format(value) for one in choices for value in one.get("enum", ())]
    return []


def _named(reference: str, schemas: Json) -> Json:
    schema: Json = schemas[reference.rpartition("/")[2]]
    return schema


def _command(path: str, method: str, operation: Json, schemas: Json) -> str | None:
    """Return a command that asks for an example; None where a parameter that is required has none."""
    required = [
        one for one in operation.get("parameters", ()) if one.get("required") or TRIED in one["schema"]
    ]
    values = {one["name"]: example_of(one) for one in required}
    if None in values.values():
        return None
    places = {
        one["name"]: urllib.parse.quote(values[one["name"]] or "") for one in required if one["in"] == "path"
    }
    query = urllib.parse.urlencode(
        {one["name"]: values[one["name"]] for one in required if one["in"] == "query"}
    )
    options = ['-H "X-API-Key: $ALATAU_API_KEY" '] if "security" in operation else [""]
    if method != "get":
        options.append(f"-X {method.upper()} ")
    if "requestBody" in operation:
        body = orjson.dumps(_body(operation, schemas)).decode()
        options.append(f'-H "Content-Type: application/json" \\\n  -d {shlex.quote(body)} \\\n  ')
    url = path.format(**places) + (f"?{query}" if query else "")
    return f'curl -s {"".join(options)}"$ALATAU_API_URL{url}"'


def example_of(parameter: Json) -> str | None:
    """Return the first example of a parameter as it is written in a URL, None if it has none."""
    examples = parameter["schema"].get("examples") or [parameter.get("example")]
    first = examples[0]
    return None if first is None else ",".join(map(str, first)) if isinstance(first, list) else str(first)


def _body(operation: Json, schemas: Json) -> Json:
    """Return a body of the fields that are required, each with its first example."""
    schema = _named(operation["requestBody"]["content"]["application/json"]["schema"]["$ref"], schemas)
    if "examples" in schema:
        whole: Json = schema["examples"][0]
        return whole
    fields = schema["properties"]
    return {name: fields[name].get("examples", [None])[0] for name in schema.get("required", ())}
