"""Payloads of the device contract as JSON schemas (draft 7), with examples that are decoded by tests."""

from __future__ import annotations

import json
from typing import Any

from ingest.decode import LARGEST_NUMBER, MOST_READINGS, take_apart
from ingest.feedback import FOUND_BYTES, LINK_BYTES, MOST_BYTES, PATH_BYTES, VALID_BYTES, told
from sensors.checks import Reason
from sensors.claims import MOST_BYTES as MOST_CLAIM_BYTES
from sensors.claims import SECRET
from sensors.kinds import Kind, Metric
from sensors.statuses import Said
from sensors.times import SECOND
from sensors.topics import DEVICE_ID
from storage.claims import Verdict

Json = dict[str, Any]

# The examples' time: 2026-11-22T10:00:00Z.
EXAMPLE_TIME = 1_795_341_600
_EXAMPLE_METRICS = 3
_LIKELY = (20, 1, 0)


def ref(part: str, name: str) -> Json:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{part}/{name}"}


def telemetry(kind: Kind) -> str:
    """Return what the messages of a kind are called, and their schema. No name of anything else has a dot."""
    return f"telemetry.{kind.name}"


def shared_schemas() -> Json:
    """Return the schemas that readings of every kind have in common, and those of answers."""
    number = {"type": "integer", "minimum": 1, "maximum": LARGEST_NUMBER}
    return {
        "time": {
            "description": "When it was measured: RFC 3339 with a zone, or Unix time, whose size tells whether it is "
            "seconds, milliseconds, microseconds or nanoseconds. At most 400 days back and 300 seconds ahead.",
            "oneOf": [{"type": "string", "format": "date-time"}, {"type": "number"}],
            "examples": ["2026-11-22T10:00:00Z", EXAMPLE_TIME, EXAMPLE_TIME * 1000],
        },
        "seq": {**number, "description": "The reading's number: one more each, never given twice."},
        "oldest": {**number, "description": "At most seq: the lowest number that the device still keeps."},
        "status": {"type": "string", "enum": [said.value for said in Said]},
    }


def kind_schemas(kind: Kind) -> Json:
    """Return the schemas of a kind: its metrics, a reading, a batch, and what is sent, which is either."""
    metrics = {metric.name: _metric(metric) for metric in kind.metrics}
    one, several = f"reading.{kind.name}", f"batch.{kind.name}"
    own = {member: ref("schemas", f"metric.{kind.name}.{member}") for member in metrics}
    reading: Json = {
        "title": kind.title,
        "description": f"One reading, expected each {kind.interval}. Metrics stand beside ts, or in values.",
        "type": "object",
        "properties": {
            "ts": ref("schemas", "time"),
            "seq": ref("schemas", "seq"),
            "oldest": ref("schemas", "oldest"),
            "values": {"type": "object", "properties": own, "additionalProperties": False},
            **own,
        },
        "additionalProperties": False,
        "dependencies": {"oldest": ["seq"]},
    }
    batch: Json = {
        "description": "What was kept while there was no network: each reading with its own time.",
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_READINGS,
        "items": {"allOf": [ref("schemas", one), {"required": ["ts"]}]},
    }
    return {
        telemetry(kind): {"oneOf": [ref("schemas", one), ref("schemas", several)]},
        one: reading,
        several: batch,
        **{f"metric.{kind.name}.{member}": schema for member, schema in metrics.items()},
    }


def _metric(metric: Metric) -> Json:
    # true is 1 and false is 0, where these are within the range.
    types = ["number", "boolean"] if metric.minimum <= 0 and metric.maximum >= 1 else ["number"]
    return {
        "title": metric.title,
        "description": f"In {metric.unit} (UCUM), {metric.minimum:g} to {metric.maximum:g}; null: not measured.",
        "type": [*types, "null"],
        "minimum": metric.minimum,
        "maximum": metric.maximum,
        "x-unit": metric.unit,
        "x-resolution": metric.resolution,
        "x-behaviour": metric.behaviour.value,
    }


def kind_examples(kind: Kind) -> list[Json]:
    """Return messages of a kind: the shortest, one with time and number, and a batch."""
    values = {metric.name: _value(metric) for metric in kind.metrics[:_EXAMPLE_METRICS]}
    later = [{"ts": EXAMPLE_TIME + 60 * n, "seq": 18 + n, "values": values} for n in range(2)]
    return [
        {"name": "now", "summary": "Its time is that of its arrival", "payload": values},
        {
            "name": "numbered",
            "summary": "With time and number, for a receipt",
            "payload": {"ts": EXAMPLE_TIME, "seq": 17, **values},
        },
        {"name": "batch", "summary": "What was kept", "payload": [{**later[0], "oldest": 18}, later[1]]},
    ]


def _value(metric: Metric) -> float:
    likely = (value for value in _LIKELY if metric.minimum <= value <= metric.maximum)
    return next(likely, metric.minimum)


def refusal_example(kind: Kind, docs: str) -> Json:
    """Return what a device of a kind is told of a metric that it has not."""
    (fault,) = take_apart(json.dumps({f"{kind.columns[0]}_": 1}).encode(), kind).faults[:1]
    example: Json = json.loads(told(fault, fault.detail, EXAMPLE_TIME * SECOND, 0, docs))
    return example


def answer_schemas() -> Json:
    """Return the schemas of what the platform answers, and of a claim."""
    through = {"type": "integer", "minimum": 0, "maximum": LARGEST_NUMBER}
    refused = [one.value for one in Verdict if one not in (Verdict.CLAIMED, Verdict.AGAIN)]
    return {
        "receipt": _object({"through": {**through, "description": "All readings up to it are committed."}}),
        "refusal": {
            **_object(
                {
                    "reason": {"type": "string", "enum": [reason.value for reason in Reason]},
                    "detail": {"type": "string", "description": "What was wrong, and what would be right."},
                    "received_at": {"type": "string", "format": "date-time"},
                    "withheld": {"type": "integer", "minimum": 0},
                    "path": _text(PATH_BYTES, "Where in the payload: a JSON Pointer, empty for all of it."),
                    "found": _text(FOUND_BYTES, "What is there."),
                    "valid": _text(VALID_BYTES, "What would be right there."),
                    "hint": {"type": "string"},
                    "link": _text(LINK_BYTES, "Where the reason is explained."),
                }
            ),
            "description": f"At most {MOST_BYTES} bytes.",
        },
        "claim": {
            "description": f"At most {MOST_CLAIM_BYTES:,} bytes.",
            "type": "object",
            "properties": {
                "id": ref("schemas", "device"),
                "secret": {"type": "string", "pattern": f"^{SECRET.pattern}$"},
                "position": {
                    "description": "Longitude and latitude.",
                    "type": "array",
                    "items": {"type": "number"},
                    "minItems": 2,
                    "maxItems": 2,
                },
                "interval": {"type": "string", "description": "ISO 8601, such as PT5M."},
                "metadata": {
                    "type": "object",
                    "additionalProperties": {"type": ["string", "number", "boolean"]},
                },
            },
            "required": ["id", "secret"],
            "additionalProperties": False,
        },
        "claimed": {
            "type": "object",
            "properties": {
                "id": {"type": ["string", "null"]},
                "claimed": {"type": "boolean"},
                "reason": {"type": "string", "enum": ["invalid", *refused]},
                "detail": {"type": "string"},
            },
            "required": ["id", "claimed"],
        },
        "device": {"type": "string", "pattern": f"^{DEVICE_ID.pattern}$"},
    }


def _object(properties: Json) -> Json:
    """Return an object that has all of these; members may be added later."""
    return {"type": "object", "properties": properties, "required": [*properties]}


def _text(size: int, description: str) -> Json:
    """Return a text of so many bytes as JSON with its quotes, or null."""
    return {"type": ["string", "null"], "maxLength": size - 2, "description": description}
