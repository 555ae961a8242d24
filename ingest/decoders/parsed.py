"""What a decoder is given, and what it returns: readings in their format's own words, before a profile maps them."""

from __future__ import annotations

import dataclasses
import math
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any

from sensors.checks import Reason

_UTC = zoneinfo.ZoneInfo("UTC")
NO_UNITS: Mapping[str, str] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class Incoming:
    """A message as the broker gave it; ``received`` in Unix seconds, ``levels`` what the pattern's wildcards matched.

    ``#`` matches as one: the rest of the topic with its slashes. ``zone`` is the city's, for times without one.
    """

    topic: str
    levels: tuple[str, ...]
    payload: bytes
    received: float
    is_retained: bool = False
    zone: zoneinfo.ZoneInfo = _UTC


@dataclasses.dataclass(slots=True)
class Reading:
    """What one source measured at one time.

    ``source`` is how its format names the device. ``time`` is its own, in Unix seconds, NaN where it says none.
    ``values`` are by the field's name in the payload, nested names joined by dots, booleans as 0 and 1; ``units``
    of the fields for which the format itself says one, in UCUM. What is ``historical`` never becomes the latest.
    """

    source: str
    time: float
    values: dict[str, float]
    units: Mapping[str, str] = dataclasses.field(default_factory=lambda: NO_UNITS)
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


@dataclasses.dataclass(slots=True)
class Parsed:
    """All that one message says. Nothing at all is fine: many messages of real firmware hold no reading.

    What ``is_lesson`` teaches the memory how to read later ones: it is kept, and learnt again at a start.
    """

    readings: list[Reading] = dataclasses.field(default_factory=list)
    refusals: list[Refusal] = dataclasses.field(default_factory=list)
    statuses: list[Status] = dataclasses.field(default_factory=list)
    replies: list[Reply] = dataclasses.field(default_factory=list)
    is_lesson: bool = False


def _nothing() -> None:
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """A wire format: which topics are its own, and its decoder.

    ``decode`` is a function of a message and of the format's memory, and of nothing else; it never raises. A format
    whose messages need earlier ones (names that only a birth has) makes a ``memory``, whose size is bounded.

    Topics are a device's ``own`` where the first level that a wildcard matches is the id of who publishes; those of
    other formats name devices behind a gateway. ``answers`` are the filters of what the format has us publish.
    """

    name: str
    title: str
    patterns: tuple[str, ...]
    decode: Callable[[Incoming, Any], Parsed]
    memory: Callable[[], Any] = _nothing
    is_own: bool = False
    answers: tuple[str, ...] = ()


def refuse(reason: Reason, path: str, found: str, valid: str) -> Parsed:
    """Return a message of which nothing can be read."""
    return Parsed(refusals=[Refusal(reason, path, found, valid)])
