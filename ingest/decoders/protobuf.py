"""Schemas of Protocol Buffers, made in Python: the classes that read messages, and those messages as of their JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# What each message is made of: number, type and name of its fields. ``*`` marks what repeats, ``=`` what is one of a
# kind. Fields that are not there are not taken apart.
Schema = Mapping[str, Sequence[str]]
ONE_OF = "value"


def compile_schema(package: str, schema: Schema) -> dict[str, Any]:
    """Return the class of each message of a schema."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package)
    for name, fields in schema.items():
        message = file.message_type.add(name=name)
        for number, kind, field, *marks in map(str.split, fields):
            made = message.field.add(name=field, number=int(number))
            made.label = made.LABEL_REPEATED if marks == ["*"] else made.LABEL_OPTIONAL
            if kind in schema:
                made.type, made.type_name = made.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                made.type = getattr(made, f"TYPE_{kind.upper()}")
            if marks == ["="]:
                made.oneof_index = 0
        if any(field.HasField("oneof_index") for field in message.field):
            message.oneof_decl.add(name=ONE_OF)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in schema
    }


def document(message: Any) -> dict[str, Any]:
    """Return the fields that a message has by their names; a number that is not finite is as if it were not there."""
    values: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            values[field.name] = [*map(document, value)] if field.is_repeated else document(value)
        elif type(value) is not float or math.isfinite(value):
            values[field.name] = value
    return values
