"""SenML in JSON and CBOR (RFC 8428) on ``senml/{device}``."""

from __future__ import annotations

from typing import Any

import msgspec

from ingest.decoders import cbor
from ingest.decoders.gathering import LONGEST_NAME, Gathering, shown
from ingest.decoders.parsed import Format, Incoming, Parsed, refuse
from ingest.decoders.senml_pack import (
    MOST_RECORDS,
    Record,
    Resolver,
    Unusable,
    check_version,
)
from ingest.decoders.senml_shapes import Shapes
from ingest.decoders.senml_tidy import named, tidy
from sensors.checks import Reason

_AN_ARRAY = 'an array of records, such as [{"n": "temperature", "u": "Cel", "v": 21.5}]'


_decode_records = msgspec.json.Decoder(list[Record]).decode
_shapes = Shapes()


def decode(incoming: Incoming, _memory: None) -> Parsed:
    """Return what a pack says; its first byte tells CBOR from JSON."""
    parsed = _shapes.read(incoming)
    if parsed is not None:
        return parsed
    payload = incoming.payload
    if not payload:  # what clears a retained message
        return Parsed()
    if len(incoming.levels[0]) > LONGEST_NAME:
        return refuse(
            Reason.UNKNOWN_TOPIC, "", shown(incoming.levels[0]), f"at most {LONGEST_NAME} characters"
        )
    if payload[0] >= 0x80:  # JSON begins in ASCII, an array of CBOR does not
        return _decode_cbor(incoming)
    return _decode_json(incoming)


def _decode_json(incoming: Incoming) -> Parsed:
    try:
        records = _decode_records(incoming.payload)
    except msgspec.ValidationError:
        return _decode_untyped(incoming)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return refuse(Reason.UNDECODABLE, "", f"not JSON: {error}"[:80], _AN_ARRAY)
    _shapes.note(incoming, records)
    return _resolve(incoming, records)


def _decode_untyped(incoming: Incoming) -> Parsed:
    try:
        document = msgspec.json.decode(incoming.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return refuse(Reason.UNDECODABLE, "", f"not JSON: {error}"[:80], _AN_ARRAY)
    return _resolve_untyped(incoming, document)


def _decode_cbor(incoming: Incoming) -> Parsed:
    try:
        document = named(cbor.loads(incoming.payload))
    except cbor.CBORError as error:
        return refuse(Reason.UNDECODABLE, "", f"not CBOR: {error}"[:80], _AN_ARRAY)
    try:
        records = msgspec.convert(document, list[Record])
    except msgspec.ValidationError:
        return _resolve_untyped(incoming, document)
    return _resolve(incoming, records)


def _resolve(incoming: Incoming, records: list[Record]) -> Parsed:
    if fault := _wrong_count(len(records)):
        return fault
    gathering = Gathering(incoming)
    resolver = Resolver(incoming, gathering)
    try:
        for place, record in enumerate(records):
            if record.bver is not None:
                check_version(place, record.bver)
    except Unusable as error:
        return refuse(Reason.UNDECODABLE, error.path, error.found, error.valid)
    for place, record in enumerate(records):
        resolver.add(place, record)
    return gathering.parsed


def _resolve_untyped(incoming: Incoming, document: Any) -> Parsed:
    if not isinstance(document, list):
        return refuse(Reason.UNDECODABLE, "", shown(document), _AN_ARRAY)
    if fault := _wrong_count(len(document)):
        return fault
    gathering = Gathering(incoming)
    resolver = Resolver(incoming, gathering)
    try:
        records = tidy(document, gathering)
    except Unusable as error:
        return refuse(Reason.UNDECODABLE, error.path, error.found, error.valid)
    for place, record, spoilt in records:
        resolver.add(place, record, spoilt)
    return gathering.parsed


def _wrong_count(count: int) -> Parsed | None:
    if not count:
        return refuse(Reason.NO_METRICS, "", "an empty array", _AN_ARRAY)
    if count > MOST_RECORDS:
        return refuse(Reason.TOO_LARGE, "", f"{count} records", f"at most {MOST_RECORDS} in one pack")
    return None


def topic_of(device: str) -> str:
    """Return the topic that a device publishes its packs on."""
    return f"senml/{device}"


FORMAT = Format(
    "senml",
    "SenML",
    (topic_of("+"),),
    decode,
    is_own=True,
    layout=_shapes.layout,
)
