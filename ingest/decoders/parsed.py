"""What a decoder is given, and what it returns: readings in their format's own words, before a profile maps them."""

from __future__ import annotations

import dataclasses
import math
import zoneinfo
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from sensors.checks import Reason

_UTC = zoneinfo.ZoneInfo("UTC")
NO_UNITS: Mapping[str, str] = MappingProxyType({})


# What is made for each message is a msgspec structure: a dataclass takes twice as long, a frozen one eight times.
class Incoming(msgspec.Struct, frozen=True, gc=False):
    """A message as the broker gave it; ``received`` in Unix seconds, ``levels`` what the pattern's wildcards matched.

    ``#`` matches as one: the rest of the topic with its slashes. ``zone`` is the city's, for times without one.
    """

    topic: str
    levels: tuple[str, ...]
    payload: bytes
    received: float
    is_retained: bool = False
    zone: zoneinfo.ZoneInfo = _UTC


class Reading(msgspec.Struct, gc=False):
    """What one source measured at one time.

    ``source`` is how its format names the device. ``time`` is its own, in Unix seconds, NaN where it says none.
    ``values`` are by the field's name in the payload, nested names joined by dots, booleans as 0 and 1; ``units``
    of the fields for which the format itself says one, in UCUM. What is ``historical`` never becomes the latest.
    """

    source: str
    time: float
    values: dict[str, float]
    units: Mapping[str, str] = NO_UNITS
    is_historical: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """A source is there or gone, by its last will, birth, death or availability; ``time`` as in ``Reading``."""

    source: str
    is_online: bool
    time: float = math.nan


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What the format has us publish, such as a request for a birth."""

    topic: str
    payload: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A part of a message that can't be read.

    ``path`` is where in the payload, as a JSON Pointer (``/0/v``; empty: all of it), ``found`` what is there, short,
    ``valid`` what would be right there.
    """

    reason: Reason
    path: str
    found: str
    valid: str


class Parsed(msgspec.Struct, gc=False):
    """All that one message says. Nothing at all is fine: many messages of real firmware hold no reading.

    What ``is_lesson`` teaches the memory how to read later ones: it is kept, and learnt again at a start.
    """

    readings: list[Reading] = msgspec.field(default_factory=list)
    refusals: list[Refusal] = msgspec.field(default_factory=list)
    statuses: list[Status] = msgspec.field(default_factory=list)
    replies: list[Reply] = msgspec.field(default_factory=list)
    is_lesson: bool = False


class Layout(msgspec.Struct, frozen=True, gc=False):
    """How messages like an earlier one are read in one go: all but numbers and time is decided.

    ``decode`` takes what is laid out so and raises msgspec's errors for the rest. ``places`` are the attributes of what
    it returns that hold the fields' values, ``absent`` that of a NaN; ``unread`` are fields that may be said beside
    them, which it does not look for. ``who`` is the attribute that has to be as in the earlier message for its source
    to be the same. ``time`` is that of the reading, as in ``Reading``, of what was decoded and the arrival in Unix
    seconds; None where the whole has to be looked at.
    """

    decode: Callable[[bytes], Any]
    places: Mapping[str, str]
    who: str
    time: Callable[[Any, float], float | None]
    unread: tuple[str, ...] = ()


ABSENT = {"absent": math.nan}


def _nothing() -> None:
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """A wire format: which topics are its own, and its decoder.

    ``decode`` is a function of a message and of the format's memory, and of nothing else; it never raises. A format
    whose messages need earlier ones (names that only a birth has) makes a ``memory``, whose size is bounded.

    Topics are a device's ``own`` where the first level that a wildcard matches is the id of who publishes; those of
    other formats name devices behind a gateway. ``answers`` are the filters of what the format has us publish.
    ``layout`` is that of a message that says one reading and nothing else, where the like can be read in one go.
    Firmware says more than measurements, such as how long it is up, on topics of its own, or it ``mixes`` both on one.
    """

    name: str
    title: str
    patterns: tuple[str, ...]
    decode: Callable[[Incoming, Any], Parsed]
    memory: Callable[[], Any] = _nothing
    is_own: bool = False
    answers: tuple[str, ...] = ()
    layout: Callable[[Incoming], Layout | None] | None = None
    mixes: bool = False


def refuse(reason: Reason, path: str, found: str, valid: str) -> Parsed:
    """Return a message of which nothing can be read."""
    return Parsed(refusals=[Refusal(reason, path, found, valid)])
