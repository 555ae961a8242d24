"""What would be stored of a message, and what would not and why. Nothing is kept of it."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api
from api.contract import BODY, PREFIX
from api.devices import Text, require_device
from api.members import ANSWER, KindName, Moment
from api.options import MessageReader
from api.parameters import require_devices
from api.problems import ProblemError, ProblemType
from api.profiles import require_profile
from api.responses import answer
from api.services import Services
from api.sources import reader_of
from sensors.errors import AlatauError
from sensors.profiles import Profile
from sensors.topics import DEVICE_ID
from storage.devices import Device, find_device
from storage.kinds import Connection
from storage.wire_sources import profile_for

router = APIRouter(prefix=f"{PREFIX}/decode", tags=["decode"])

LARGEST_PAYLOAD = 65_536  # bytes
_MOST_BEFORE = 16
_MOST_TOLD = 1000  # of each list
_AT_ONCE = asyncio.Semaphore(2)
_EXAMPLE = {
    "topic": "senml/sample-air-1",
    "payload": '[{"n":"pm2_5","u":"ug/m3","v":12.5},{"n":"humidity","u":"%RH","v":41}]',
    "kind": "air_quality",
}
# Bounded by the request's own size, and exactly by ``content``; here only longer than other texts.
_Long = Annotated[str, Field(max_length=1 << 20), WithJsonSchema({"type": "string"})]


class SentMessage(BaseModel):
    """A message as it is published."""

    model_config = BODY

    topic: Annotated[
        Text, Field(min_length=1, description="Where it is published.", examples=[_EXAMPLE["topic"]])
    ]
    payload: _Long | None = Field(
        None, description="Text, sent as UTF-8; at most 64 KiB.", examples=[_EXAMPLE["payload"]]
    )
    payload_base64: _Long | None = Field(
        None,
        description="Any bytes, in the place of `payload`; at most 64 KiB.",
        examples=[base64.b64encode(_EXAMPLE["payload"].encode()).decode()],
    )

    def content(self) -> tuple[str, bytes]:
        """Return topic and payload. Raises the problem of one that is not there once, or is too long."""
        if (self.payload is None) == (self.payload_base64 is None):
            raise ProblemError(ProblemType.INVALID_BODY, "send either payload or payload_base64")
        try:
            content = (
                self.payload.encode()
                if self.payload is not None
                else base64.b64decode(self.payload_base64 or "", validate=True)
            )
        except (binascii.Error, ValueError) as error:
            raise ProblemError(
                ProblemType.INVALID_BODY, f"payload_base64: {error}; encode the bytes as RFC 4648 has it"
            ) from None
        if len(content) > LARGEST_PAYLOAD:
            raise ProblemError(
                ProblemType.INVALID_BODY,
                f"the payload has {len(content):,} bytes; send at most {LARGEST_PAYLOAD:,}",
            )
        return self.topic, content


class DecodedMessage(SentMessage):
    """A message, and who would have sent it."""

    model_config = ConfigDict(**BODY, json_schema_extra={"examples": [dict(_EXAMPLE)]})

    kind: Annotated[
        Text | None,
        Field(
            description="Of the device that would send it; if left out, of the one whose own topic it is.",
            examples=["air_quality"],
        ),
    ] = None
    device: Annotated[
        Text | None, Field(description="That would send it; its kind is known.", examples=["sample-air-1"])
    ] = None
    profile: Annotated[
        Text | None,
        Field(
            description="Which field is which metric; if left out, the one that the device's messages are read by.",
            examples=["milesight-am300"],
        ),
    ] = None
    before: list[SentMessage] = Field(
        [],
        max_length=_MOST_BEFORE,
        description="Earlier messages that it needs, such as a birth, in their order; they are read, too.",
    )


@with_config(ANSWER)
class DecodedReading(TypedDict):
    """What one source measured at one time."""

    source: Annotated[str, Field(description="How the format names the device.", examples=["sample-air-1"])]
    time: Annotated[Moment | None, Field(description="Its own, UTC; null: that of its arrival.")]
    values: Annotated[
        dict[str, float], Field(description="By the fields' names in the message.", examples=[{"t": 26.6}])
    ]
    units: Annotated[
        dict[str, str],
        Field(description="Of the fields for which the message says one, UCUM.", examples=[{"t": "[degF]"}]),
    ]
    historical: Annotated[
        bool, Field(description="Of the past: it never becomes the latest.", examples=[False])
    ]
    stored: Annotated[
        dict[str, float] | None,
        Field(
            description="The metrics, in their own units; null where no kind is given.",
            examples=[{"temperature": -3.0}],
        ),
    ]


@with_config(ANSWER)
class DecodedStatus(TypedDict):
    """A source is there or gone."""

    source: Annotated[str, Field(description="How the format names the device.", examples=["sample-air-1"])]
    online: Annotated[bool, Field(description="Whether it is there.", examples=[True])]
    time: Annotated[Moment | None, Field(description="Since when, UTC; null: since its arrival.")]


@with_config(ANSWER)
class DecodedRefusal(TypedDict):
    """What would not be stored."""

    reason: Annotated[str, Field(description="As of dead letters.", examples=["wrong_type"])]
    detail: Annotated[
        str,
        Field(
            description="What is wrong, and what would be right.", examples=['/0/v: found "warm"; send 21.5']
        ),
    ]
    path: Annotated[str | None, Field(description="Where in the payload, a JSON Pointer.", examples=["/0/v"])]
    found: Annotated[str | None, Field(description="What is there.", examples=['"warm"'])]
    valid: Annotated[str | None, Field(description="What would be right there.", examples=["21.5"])]


@with_config(ANSWER)
class DecodedReply(TypedDict):
    """What the format has ingest publish."""

    topic: Annotated[str, Field(description="Where.", examples=["spBv1.0/city/NCMD/gw1"])]
    payload: Annotated[str, Field(description="In hexadecimal digits.", examples=["0a"])]


@with_config(ANSWER)
class DecodedAnswer(TypedDict):
    """What messages say, and what becomes of them."""

    formats: Annotated[list[str], Field(description="Of the messages.", examples=[["SenML"]])]
    kind: Annotated[KindName | None, Field(description="By whose metrics they were read.")]
    profile: Annotated[
        str | None, Field(description="By which fields were mapped.", examples=["milesight-am300"])
    ]
    readings: list[DecodedReading]
    statuses: list[DecodedStatus]
    refused: list[DecodedRefusal]
    replies: list[DecodedReply]
    more: Annotated[
        int, Field(description="How many entries are left out: each list has 1,000 at most.", examples=[0])
    ]


@router.post("", response_model=DecodedAnswer)
async def post_message(body: DecodedMessage, api: Api) -> Response:
    """Tell what a message says, what would be stored of it, and what would not and why. Nothing is kept."""
    reader = reader_of(api)
    messages = [one.content() for one in (*body.before, body)]
    kind, profile = await _read_by(body, api, reader)
    received = api.clock().timestamp()
    try:
        # A large payload takes a while; others are answered meanwhile, and no more than two are read at once.
        async with _AT_ONCE:
            return await asyncio.to_thread(
                lambda: answer(
                    _bounded(
                        reader.explain(
                            messages, received=received, catalogue=api.catalogue, kind=kind, profile=profile
                        ).as_json()
                    )
                )
            )
    except AlatauError as error:
        raise ProblemError(ProblemType.INVALID_BODY, str(error)) from None


def _bounded(content: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of a message: of each list the first, and how many more there are of all."""
    lists = {name: told for name, told in content.items() if isinstance(told, list)}
    more = sum(max(0, len(told) - _MOST_TOLD) for told in lists.values())
    return {**content, **{name: told[:_MOST_TOLD] for name, told in lists.items()}, "more": more}


async def _read_by(
    body: DecodedMessage, api: Services, reader: MessageReader
) -> tuple[str | None, Profile | None]:
    """Return the kind and the profile by which a message is read: as it says, or else as ingest would."""
    wire_format = reader.format_of(body.topic)
    async with api.database.connection() as connection:
        device = await _device(body, reader.publisher_of(body.topic), connection)
        if device is not None and body.kind not in (None, device.kind):
            raise ProblemError(
                ProblemType.INVALID_BODY, f"{device.id} is registered as {device.kind}; leave kind out"
            )
        kind = body.kind if device is None else device.kind
        if body.profile is not None:
            return kind, (await require_profile(connection, body.profile, ProblemType.INVALID_BODY)).profile
        if kind is None or wire_format is None:
            return kind, None
        return kind, await profile_for(connection, wire_format, kind, device.id if device else None)


async def _device(body: DecodedMessage, publisher: str | None, connection: Connection) -> Device | None:
    """Return who would send it: as it says, or where it says neither that nor a kind, whose own topic it is."""
    if body.device is not None:
        await require_devices(connection, [body.device])
        return await require_device(connection, body.device)
    if publisher is None or body.kind is not None or body.profile is not None:
        return None
    return await find_device(connection, publisher) if DEVICE_ID.fullmatch(publisher) else None
