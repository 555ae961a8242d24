"""The webhooks of servers that speak for devices: what they post is what they would publish, and on which topic."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ingest.decoders import chirpstack, things_stack
from ingest.decoders.parsed import Format
from ingest.http.problems import HttpProblemError, Problem

# What is no level of a topic of theirs, or is not there: the message is refused, and kept, as of nobody.
_NOBODY = "-"
_LEVEL = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
_EVENT = re.compile(r"[a-z]{1,20}")


class _Info(msgspec.Struct, rename="camel"):
    application_id: str = ""
    dev_eui: str = ""


class _Event(msgspec.Struct, rename="camel"):
    device_info: _Info = msgspec.field(default_factory=_Info)


class _Application(msgspec.Struct):
    application_id: str = ""


class _Ids(msgspec.Struct):
    device_id: str = ""
    application_ids: _Application = msgspec.field(default_factory=_Application)


class _Message(msgspec.Struct):
    end_device_ids: _Ids = msgspec.field(default_factory=_Ids)
    join_accept: Any = None
    location_solved: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def chirpstack_topic(payload: bytes, query: Mapping[str, str]) -> str:
    """Return the topic of an event of ChirpStack's HTTP integration. Raises HttpProblemError without its kind.

    Source: ChirpStack's documentation, "HTTP" and "MQTT" under "Integrations".
    """
    kind = query.get("event", "")
    if not _EVENT.fullmatch(kind):
        raise HttpProblemError(
            Problem.INVALID_PARAMETER,
            "event: is not a kind of event; ChirpStack adds ?event=up itself, so give it the address without",
        )
    try:
        info = _decode_event(payload).device_info
    except _UNREADABLE:
        info = _Info()
    return f"application/{_level(info.application_id)}/device/{_level(info.dev_eui)}/event/{kind}"


def things_stack_topic(payload: bytes, _query: Mapping[str, str]) -> str:
    """Return the topic of a message of The Things Stack's webhooks.

    Source: The Things Stack's documentation, "Webhooks" and "MQTT Server".
    """
    try:
        message = _decode_message(payload)
    except _UNREADABLE:
        message = _Message()
    ids = message.end_device_ids
    if message.join_accept is not None:
        kind = "join"
    elif message.location_solved is not None:
        kind = "location/solved"
    else:
        kind = "up"
    return f"v3/{_level(ids.application_ids.application_id)}/devices/{_level(ids.device_id)}/{kind}"


def _level(name: str) -> str:
    return name if _LEVEL.fullmatch(name) else _NOBODY


@dataclasses.dataclass(frozen=True, slots=True)
class Webhook:
    """A format whose servers post, and the topic of what they post."""

    format: Format
    topic: Callable[[bytes, Mapping[str, str]], str]


# By the last part of their path.
WEBHOOKS = {
    "chirpstack": Webhook(chirpstack.FORMAT, chirpstack_topic),
    "things-stack": Webhook(things_stack.FORMAT, things_stack_topic),
}
