"""Whose a resolved name of SenML is: which part of it is the source, and which the field."""

from __future__ import annotations

import functools
import re

from ingest.decoders.gathering import LONGEST_NAME
from ingest.decoders.senml_units import ucum

# RFC 8428, section 4.5.1.
_VALID = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*+")
# A whole device name of RFC 9039 (urn:dev:mac:0024befffe804ff1), or of another scheme (urn:uuid:…, urn:imei:…).
_URN = re.compile(r"urn:(?:(?:dev|gsma):[^:/_]++|(?!dev:|gsma:)[^:/_]++):[^:/_]++", re.IGNORECASE)
_SEPARATORS = ":/._-"
# The field of a record that has neither a name of its own nor a unit.
_NAMELESS = "value"
LONGEST_UNIT = 64


def is_valid(base: str, name: str) -> bool:
    """Return whether both together keep to the specification, and to our length."""
    return len(base) + len(name) <= LONGEST_NAME and _VALID.fullmatch(base + name) is not None


@functools.lru_cache(maxsize=4096)
def meaning(level: str, base: str, name: str, unit: str) -> tuple[str, str, str] | None:
    """Return source, field and UCUM code of a record, None if its name is not valid or it has no source.

    A base name with a device's URN is the source, up to the first slash; else the URN that the whole name begins
    with; else the level of the topic. The field is the rest, without the separators around it.
    """
    if not is_valid(base, name):
        return None
    known = source_of(level, base)
    urn = None if known else _URN.match(base + name)
    if known:
        source, field = known[0], field_of(known[1], name)
    elif urn:
        source, field = urn[0], field_of((base + name)[urn.end() :], "")
    else:
        source, field = level, field_of(_without_level(level, base), name)
    return (source, field_or_unit(field, unit), ucum(unit)) if source else None


def source_of(level: str, base: str) -> tuple[str, str] | None:
    """Return the source that a base name alone decides, and what of the base name belongs to the fields.

    None where it takes the names of the records as well.
    """
    if _URN.match(base):
        urn, _, rest = base.partition("/")
        return urn.rstrip(_SEPARATORS), rest
    if not base or base.lower().startswith("urn:") or "urn:".startswith(base.lower()):
        return None
    return level, _without_level(level, base)


def field_of(prefix: str, name: str) -> str:
    """Return the field that a record's name says, empty where the name is all its source's."""
    return (prefix + name).strip(_SEPARATORS)


def field_or_unit(field: str, unit: str) -> str:
    """Return a field, named by its SenML unit where it has no name: the specification's own moving sensor sends
    humidity, longitude and latitude at one time under one name."""
    return field or unit or _NAMELESS


def _without_level(level: str, base: str) -> str:
    # A device that repeats the name its topic has already: senml/air-7 with "bn": "air-7/".
    rest = base.removeprefix(level)
    return rest if level and rest != base and (not rest or rest[0] in _SEPARATORS) else base
