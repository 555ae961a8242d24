"""Members that mean the same in many answers, each described once.

An answer is a ``TypedDict`` with ``@with_config(ANSWER)``, named as its route's ``response_model``: mypy holds the code
to it, and the published description is made of it. Nothing is validated on the way out, because the routes return
ready responses; the contract test compares them with the description.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import ConfigDict, Field, GetPydanticSchema

# An answer has no members that its description does not list.
ANSWER = ConfigDict(extra="forbid")


def described_as(type_: Any) -> GetPydanticSchema:
    """Describe a member of a type that pydantic does not know, or that says too little, as one of another."""
    return GetPydanticSchema(lambda _, handler: handler(type_))


_TIME = {"format": "date-time"}

DeviceId = Annotated[str, Field(description="A device's id.", examples=["sample-air-1"])]
KindName = Annotated[str, Field(description="A kind of sensor.", examples=["air_quality"])]
DistrictName = Annotated[str, Field(description="A district of the city.", examples=["gate"])]
MetricName = Annotated[str, Field(description="A metric.", examples=["pm2_5"])]
Title = Annotated[str, Field(description="For people.", examples=["PM2.5"])]
Unit = Annotated[str, Field(description="UCUM code.", examples=["ug/m3"])]
Zone = Annotated[str, Field(description="IANA time zone.", examples=["Asia/Almaty"])]
# Not the list of two schemas that a tuple would be: few generators of clients know those.
_Two = Annotated[list[float], Field(min_length=2, max_length=2)]
Position = Annotated[
    tuple[float, float],
    described_as(_Two),
    Field(description="[longitude, latitude], degrees, WGS 84.", examples=[[77.0, 43.48]]),
]
Moment = Annotated[dt.datetime, Field(description="UTC.", examples=["2026-01-15T12:00:00Z"])]
Start = Annotated[
    str, Field(description="Of the range.", examples=["2026-01-14T12:00:00Z"], json_schema_extra=_TIME)
]
End = Annotated[
    str,
    Field(description="Not part of the range.", examples=["2026-01-15T12:00:00Z"], json_schema_extra=_TIME),
]
Seconds = Annotated[float, Field(description="Seconds.", examples=[60.0])]
Share = Annotated[float, Field(description="0 to 1.", examples=[0.99])]
Count = Annotated[int, Field(examples=[1])]
Simulated = Annotated[bool, Field(description="Whether a simulation is behind it.", examples=[False])]
Next = Annotated[
    Annotated[str, Field(examples=["WyJkZXZpY2VzIiwic2FtcGxlLWFpci0xIl0"])] | None,
    Field(description="`cursor` of the next page; null on the last."),
]
Warnings = Annotated[
    list[str],
    Field(
        description="What the reader should know.",
        examples=[["includes readings of simulated devices; simulated=false leaves them out"]],
    ),
]
Group = Annotated[
    dict[str, str],
    Field(
        description="The `device`, `district` or `kind` that it is of; empty where it is of all.",
        examples=[{"district": "gate"}],
        max_length=1,
        json_schema_extra={"propertyNames": {"enum": ["device", "district", "kind"]}},
    ),
]

# Columns: arrays as numpy keeps them, NaN as null, and what is JSON already.
Integers = Annotated[npt.NDArray[np.int64], described_as(list[int])]
Numbers = Annotated[npt.NDArray[np.float64], described_as(list[float | None])]
Times = Annotated[npt.NDArray[np.datetime64], described_as(list[dt.datetime])]
WrittenTimes = Annotated[orjson.Fragment, described_as(list[dt.datetime])]
