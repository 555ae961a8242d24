"""What an alert says, as data, of which a client makes its reader's language: see ``sensors.messages``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, with_config
from typing_extensions import TypedDict

from api.members import ANSWER


@with_config(ANSWER)
class NumberArgument(TypedDict):
    """A value as it is to be written."""

    type: Annotated[Literal["number"], Field(examples=["number"])]
    value: Annotated[float, Field(description="Rounded.", examples=[163.2])]
    digits: Annotated[int, Field(description="After the point, also where they are zeros.", examples=[1])]
    unit: Annotated[
        Annotated[str, Field(examples=["ug/m3"])] | None,
        Field(description="UCUM code; null: none to be written."),
    ]
    per: Annotated[
        Literal["hour"] | None,
        Field(description="It is the rise in that time; null: it is no rise.", examples=[None]),
    ]


@with_config(ANSWER)
class Argument(TypedDict):
    """What is said in a place of the text."""

    type: Annotated[
        Literal[
            "time",
            "span",
            "count",
            "device",
            "metric",
            "metrics",
            "kind",
            "district",
            "aggregate",
            "source",
            "reason",
        ],
        Field(
            description="`time`: RFC 3339, UTC. `span`: seconds. `count`: how many. `metrics`: a list of names. The "
            "others are names; `district` null is the whole city.",
            examples=["metric"],
        ),
    ]
    value: Annotated[str | int | list[str] | None, Field(description="As its type says.", examples=["pm2_5"])]


@with_config(ANSWER)
class Phrase(TypedDict):
    """A title or a whole sentence."""

    key: Annotated[
        str,
        Field(
            description="Of its text in `/ui`'s languages; with an argument `n` it has one for each plural form.",
            examples=["alert.title.above"],
        ),
    ]
    args: Annotated[
        dict[str, NumberArgument | Argument],
        Field(
            description="By the name of their place.",
            examples=[{"metric": {"type": "metric", "value": "pm2_5"}}],
        ),
    ]


@with_config(ANSWER)
class Message(TypedDict):
    """Title and sentence."""

    title: Annotated[Phrase, Field(description="The title.")]
    sentence: Annotated[list[Phrase], Field(description="Sentences that follow each other.")]
