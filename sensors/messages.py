"""What an alert says, as data: keys of texts with typed arguments, of which every reader's language is made.

The texts are the page's, ``dashboard/locales``: by language, one for each key. A text's ``{places}`` are the arguments
of the same names; where it depends on how many there are, the argument ``n`` chooses between ``key.one``, ``key.few``,
``key.many`` and ``key.other``, the plural forms of CLDR.
"""

from __future__ import annotations

import enum
from typing import Literal, TypedDict


class Language(enum.StrEnum):
    """A language that there are texts of, ISO 639."""

    ENGLISH = "en"
    RUSSIAN = "ru"
    KAZAKH = "kk"


class Number(TypedDict):
    """A value, rounded to as many ``digits`` as are written, in a UCUM unit; with ``per`` it is a rise in that time."""

    type: Literal["number"]
    value: float
    digits: int
    unit: str | None
    per: Literal["hour"] | None


class Time(TypedDict):
    """A moment, RFC 3339 in UTC; people read it on the city's clock."""

    type: Literal["time"]
    value: str


class Whole(TypedDict):
    """How long it is, seconds; or how many there are."""

    type: Literal["span", "count"]
    value: int


class Name(TypedDict):
    """What has a name; a ``source`` is what a rule says that its limit comes from, a ``reason`` why
    messages are refused."""

    type: Literal["device", "metric", "kind", "aggregate", "source", "reason"]
    value: str


class Place(TypedDict):
    """A district by name; None: the whole city."""

    type: Literal["district"]
    value: str | None


class Metrics(TypedDict):
    """Several metrics by name."""

    type: Literal["metrics"]
    value: list[str]


Argument = Number | Time | Whole | Name | Place | Metrics


class Phrase(TypedDict):
    """A title or a whole sentence."""

    key: str
    args: dict[str, Argument]


class AlertMessage(TypedDict):
    """A title, and the sentences that follow each other."""

    title: Phrase
    sentence: list[Phrase]
