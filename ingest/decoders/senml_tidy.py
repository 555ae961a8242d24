"""Records of a pack that is not typed as SenML has it: the good fields kept, each of the others refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ingest.decoders.gathering import Gathering, as_double, pointer, shown
from ingest.decoders.senml_pack import Record, Unusable, check_version
from sensors.checks import Reason

_TEXTS = frozenset({"bn", "bu", "n", "u"})
_NUMBERS = frozenset({"bt", "bv", "bs", "v", "s", "t"})
_CBOR_LABELS = dict(enumerate(("n", "u", "v", "vs", "vb", "s", "t", "ut", "vd"))) | {
    -place: label for place, label in enumerate(("bver", "bn", "bt", "bu", "bv", "bs"), start=1)
}


def named(document: Any) -> Any:
    """Return a pack of CBOR with its labels by name: numbers are those of the specification, others are left out."""
    if not isinstance(document, list):
        return document
    return [_named(one) if isinstance(one, dict) else one for one in document]


def _named(one: dict[Any, Any]) -> dict[str, Any]:
    names = ((_CBOR_LABELS.get(label, label), value) for label, value in one.items())
    return {name: value for name, value in names if isinstance(name, str)}


def tidy(document: list[Any], gathering: Gathering) -> Iterator[tuple[int, Record, frozenset[str]]]:
    """Return the records of a pack with their places and the labels refused of each.

    Raises Unusable before the first of them if the pack may not be used.
    """
    for place, one in enumerate(document):
        if isinstance(one, dict):
            _check_usable(place, one)
    return _records(document, gathering)


def _check_usable(place: int, one: Mapping[str, Any]) -> None:
    for label, value in one.items():
        if label == "bver" and value is not None:
            check_version(place, value)
        elif label.endswith("_"):
            valid = "no labels that end in _: they must be understood, and none is defined"
            raise Unusable(pointer((place, label[:40])), shown(label), valid)


def _records(document: list[Any], gathering: Gathering) -> Iterator[tuple[int, Record, frozenset[str]]]:
    for place, one in enumerate(document):
        if not isinstance(one, dict):
            gathering.refuse(Reason.WRONG_TYPE, (place,), shown(one), "an object of SenML's labels")
            continue
        record, spoilt = Record(), []
        for label, value in one.items():
            if value is None or label not in Record.__struct_fields__ or label == "bver":
                continue
            fault = _take(record, label, value)
            if fault is not None:
                spoilt.append(label)
                reason, valid = fault
                gathering.refuse(reason, (place, label), shown(value), valid)
        yield place, record, frozenset(spoilt)


def _take(record: Record, label: str, value: Any) -> tuple[Reason, str] | None:
    """Put a value into a record; return what is wrong with it."""
    if label in _TEXTS:
        if not isinstance(value, str):
            return Reason.WRONG_TYPE, "a string"
    elif label in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Reason.WRONG_TYPE, "a number"
        value = as_double(value)
        if not math.isfinite(value):
            return Reason.OUT_OF_RANGE, "a finite number"
    elif label == "vb" and not isinstance(value, bool):
        return Reason.WRONG_TYPE, "true or false"
    setattr(record, label, value)
    return None
