"""The device contract as an AsyncAPI 3.0 document, as a device sees it: it sends telemetry, it receives answers."""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Iterable

from broker.config import MOST_PACKET_BYTES
from cli.asyncapi_schemas import (
    Json,
    answer_schemas,
    kind_examples,
    kind_schemas,
    ref,
    refusal_example,
    shared_schemas,
    telemetry,
)
from sensors.catalogue import Catalogue
from sensors.kinds import Kind
from sensors.statuses import Said
from sensors.topics import Channel, ClaimChannel, Topics

_VERSION = "1"  # of the wire
_MQTT = "0.2.0"  # the version of the bindings
_KEEP_ALIVE = 30


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where the contract holds: the broker's address, its port for certificates, and the address of the page."""

    url: str
    certificates_port: int
    topics: Topics
    docs: str


def document(catalogue: Catalogue, place: Place) -> Json:
    """Return the document for the kinds of a catalogue."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Devices of {catalogue.city.title}",
            "version": _VERSION,
            "description": "What a device sends and what it is told. Operations are the device's: it sends telemetry, "
            f"and receives answers. In words: {place.docs}",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(place),
        "channels": _channels(catalogue.kinds, place.topics),
        "operations": _operations(),
        "components": {
            "schemas": {
                **shared_schemas(),
                **answer_schemas(),
                **{name: one for kind in catalogue.kinds for name, one in kind_schemas(kind).items()},
            },
            "messages": _messages(catalogue.kinds, place.docs),
            "parameters": {
                "device": {
                    "description": "The device's id, which is its client id.",
                    "examples": ["lamp-17"],
                },
                "account": {
                    "description": "An account of a batch, alatau-claim-NAME-00 to -15, and its client id.",
                    "examples": ["alatau-claim-lamps-2026-07"],
                },
            },
            "securitySchemes": {
                "device": {"type": "userPassword", "description": "The device's id, and its secret."},
                "batch": {"type": "userPassword", "description": "An account of a batch, and its token."},
                "certificate": {"type": "X509", "description": "A certificate of the platform's authority."},
            },
        },
    }


def _servers(place: Place) -> Json:
    parts = urllib.parse.urlsplit(place.url)
    is_tls = parts.scheme in ("mqtts", "ssl")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or "127.0.0.1"
    will = {
        "topic": place.topics.of("{device}", Channel.STATUS),
        "qos": 1,
        "message": Said.OFFLINE.value,
        "retain": True,
    }
    common = {
        "protocol": "secure-mqtt" if is_tls else "mqtt",
        "protocolVersion": "5.0",
        "bindings": {
            "mqtt": {
                "clientId": "{device}",
                "cleanSession": True,
                "lastWill": will,
                "keepAlive": _KEEP_ALIVE,
                "maximumPacketSize": MOST_PACKET_BYTES,
                "bindingVersion": _MQTT,
            }
        },
    }
    secrets = {
        "host": f"{host}:{parts.port or (8883 if is_tls else 1883)}",
        "description": "With a secret. MQTT 3.1.1 is spoken, too.",
        **common,
        "security": [ref("securitySchemes", "device"), ref("securitySchemes", "batch")],
    }
    if not is_tls:
        return {"secrets": secrets}
    certificates = {
        "host": f"{host}:{place.certificates_port}",
        "description": "With a certificate, and neither user name nor secret.",
        **common,
        "security": [ref("securitySchemes", "certificate")],
    }
    return {"secrets": secrets, "certificates": certificates}


def _channels(kinds: Iterable[Kind], topics: Topics) -> Json:
    def channel(
        which: Channel | ClaimChannel, parameter: str, description: str, messages: Iterable[str]
    ) -> Json:
        return {
            "address": topics.of(f"{{{parameter}}}", which),
            "description": description,
            "parameters": {parameter: ref("parameters", parameter)},
            "messages": {name: ref("messages", name) for name in messages},
        }

    return {
        "telemetry": channel(
            Channel.TELEMETRY,
            "device",
            "Readings of the device's kind, which it was registered with.",
            [telemetry(kind) for kind in kinds],
        ),
        "status": channel(Channel.STATUS, "device", "Whether the device is there.", ["status"]),
        "errors": channel(
            Channel.ERRORS, "device", "Why something was refused; at most once in ten seconds.", ["refusal"]
        ),
        "stored": channel(
            Channel.STORED,
            "device",
            "Up to which number readings are kept; at most once a second.",
            ["receipt"],
        ),
        "claim": channel(ClaimChannel.CLAIM, "account", "A device that registers itself.", ["claim"]),
        "claimed": channel(ClaimChannel.CLAIMED, "account", "What came of that.", ["claimed"]),
    }


def _operations() -> Json:
    def operation(action: str, channel: str, qos: int, *, is_retained: bool = False) -> Json:
        return {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "bindings": {"mqtt": {"qos": qos, "retain": is_retained, "bindingVersion": _MQTT}},
        }

    batch = {"security": [ref("securitySchemes", "batch")]}
    return {
        "sendTelemetry": operation("send", "telemetry", 1),
        "sendStatus": operation("send", "status", 1, is_retained=True),
        "receiveErrors": operation("receive", "errors", 0),
        "receiveStored": operation("receive", "stored", 0),
        "sendClaim": {
            **operation("send", "claim", 1),
            **batch,
            "reply": {"channel": {"$ref": "#/channels/claimed"}},
        },
        "receiveClaimed": {**operation("receive", "claimed", 1), **batch},
    }


def _messages(kinds: tuple[Kind, ...], docs: str) -> Json:
    answers = {
        "receipt": [{"through": 17}],
        "refusal": [refusal_example(kinds[0], docs)],
        "claim": [{"id": "lamp-17", "secret": "6Zk0w3b9Qx1Tn8Vr5Ys2Lm4Pc7Hd0Fj6"}],
        "claimed": [
            {"id": "lamp-17", "claimed": True},
            {
                "id": "lamp-17",
                "claimed": False,
                "reason": "expired",
                "detail": "the time of the batch is over",
            },
        ],
    }
    return {
        **{
            telemetry(kind): {
                "title": kind.title,
                "contentType": "application/json",
                "payload": ref("schemas", telemetry(kind)),
                "examples": kind_examples(kind),
            }
            for kind in kinds
        },
        "status": {
            "contentType": "text/plain",
            "description": "These bytes, without quotes.",
            "payload": ref("schemas", "status"),
            "examples": [{"payload": said.value} for said in Said],
        },
        **{
            name: {
                "contentType": "application/json",
                "payload": ref("schemas", name),
                "examples": [{"payload": one} for one in examples],
            }
            for name, examples in answers.items()
        },
    }
