"""A document into its format's shape, with what does not fit taken out and named, so that the rest is kept."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, TypeVar

import msgspec

from ingest.decoders.parsed import Refusal
from sensors.checks import Reason

# A time with its zone: one without would be read as of this machine's.
Time = Annotated[dt.datetime, msgspec.Meta(tz=True)]

Shape = TypeVar("Shape")

# More faults than that, and the message is something else. Each costs a look at the whole of it.
_MOST_FAULTS = 8
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_EXPECTED = re.compile(r"Expected `(\w+)")
_VALID = {
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
    "datetime": "a time such as 2026-01-01T00:00:00Z",
}
_EVENT = "an event as its documentation has it"
_LONGEST = 60


def convert(document: Any, shape: type[Shape]) -> tuple[Shape | None, list[Refusal]]:
    """Return a decoded document as a msgspec structure, and what had to be taken out of it to that end.

    Changes the document. A null is as if left out. None: it is nothing of the kind; the last refusal says why.
    """
    refusals: list[Refusal] = []
    for _ in range(_MOST_FAULTS):
        try:
            return msgspec.convert(document, shape), refusals
        except msgspec.ValidationError as error:
            what, _, place = str(error).partition(" - at `$")
            steps = [name or int(index) for name, index in _STEP.findall(place)]
            if not steps:
                refusals.append(Refusal(Reason.UNDECODABLE, "", what[:_LONGEST], _EVENT))
                return None, refusals
            value = _take_out(document, steps)
            if value is not None:
                refusals.append(_refusal(what, steps, value))
    refusals.append(Refusal(Reason.UNDECODABLE, "", f"{_MOST_FAULTS} fields or more of other types", _EVENT))
    return None, refusals


def _take_out(document: Any, steps: list[str | int]) -> Any:
    for step in steps[:-1]:
        document = document[step]
    last = steps[-1]
    if isinstance(document, dict):
        return document.pop(last)
    value, document[last] = document[last], {}  # the places of the others stay what they are
    return value


def _refusal(what: str, steps: list[str | int], value: Any) -> Refusal:
    expected = _EXPECTED.match(what)
    wanted = expected[1] if expected else "datetime" if "RFC3339" in what else ""
    return Refusal(
        Reason.TIME_UNREADABLE if wanted == "datetime" else Reason.WRONG_TYPE,
        "".join(f"/{step}" for step in steps),
        shown(value),
        _VALID.get(wanted, _EVENT),
    )


def shown(value: Any) -> str:
    """Return a value as a person can recognise it, short."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, str):
        value = value[:_LONGEST]
    return msgspec.json.encode(value).decode()[:_LONGEST]
