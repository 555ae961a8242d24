"""Who may do what at the broker: roles, service accounts, and the file of dynamic security made of them.

What a device may publish and receive is said by the pattern rules of the access file, which hold for each client id:
100,000 devices share a few lines, and one role that says what no device may. So an account of a device is let in with
one client id alone, and every other role says that it has nothing of them.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import orjson

from broker.refusals import LOG_TOPIC
from broker.secrets import HashedSecret
from broker.speech import Speech
from sensors.accounts import client_id_of
from sensors.claims import batch_of
from sensors.gateways import gateway_of, gateway_role
from sensors.topics import (
    BROKER_RETAINED,
    BROKER_STORED,
    DEVICE_RECEIVES,
    DEVICE_SENDS,
    RESERVED_IDS,
    Channel,
    ClaimChannel,
    Topics,
)


class Service(enum.StrEnum):
    """The service accounts; each has a role of the same name. Their prefix is closed to devices."""

    ADMIN = "alatau-admin"  # registers devices through $CONTROL; touches no telemetry
    INGEST = "alatau-ingest"
    SIMULATOR = "alatau-simulator"
    CLAIMS = "alatau-claims"  # hears the claims of devices, and answers them
    ALERTS = "alatau-alerts"  # tells of alerts
    LISTENER = "alatau-listener"  # hears of alerts, and of nothing else: for programs of others


DEVICE_ROLE = "alatau-device"
CLAIM_ROLE = "alatau-claim"  # of the accounts of batches


def role_of(username: str) -> str:
    """Return the role of an account that is no service's."""
    if (gateway := gateway_of(username)) is not None:
        return gateway_role(gateway[0])
    return DEVICE_ROLE if batch_of(username) is None else CLAIM_ROLE


def is_role_of_ours(role: str) -> bool:
    """Return whether accounts with a role are of the tables: of devices, batches and gateways."""
    return role in (DEVICE_ROLE, CLAIM_ROLE) or role.startswith(gateway_role(""))


class Hashed(Protocol):
    """A hashed secret, wherever it comes from: made here or read from the device table."""

    @property
    def salt(self) -> bytes: ...
    @property
    def hash(self) -> bytes: ...
    @property
    def iterations(self) -> int: ...


class DeviceSecret(Hashed, Protocol):
    """A device's hashed secret, and whether the device is kept out."""

    @property
    def is_disabled(self) -> bool: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One access rule of a role; ``acltype`` is dynamic security's name of what it is about."""

    acltype: str
    topic: str
    allow: bool = True
    priority: int = 0  # the highest that fits is the one that holds


_NO_SUBSCRIPTION = [
    Rule("subscribePattern", every, allow=False) for every in ("#", "$share/#", "$SYS/#", "$CONTROL/#")
]


def _roles(topics: Topics, speeches: Sequence[Speech]) -> dict[str, list[Rule]]:
    roles = _own_rules(topics, speeches)
    devices = [
        *(("publishClientSend", topics.every(channel)) for channel in DEVICE_SENDS),
        *(("publishClientSend", topic) for speech in speeches if speech.is_own for topic in speech.topics),
        *(("publishClientReceive", topics.every(channel)) for channel in DEVICE_RECEIVES),
    ]
    claims = [
        ("publishClientSend", topics.every(ClaimChannel.CLAIM)),
        ("publishClientReceive", topics.every(ClaimChannel.CLAIMED)),
    ]
    # What the access file lets a client do by its id, whoever that is.
    closed = {role: [*devices, *claims] for role in roles}
    closed |= {DEVICE_ROLE: [*claims, *_below_root(topics, speeches)], CLAIM_ROLE: devices}
    return {role: [*rules, *_denials(rules, closed[role])] for role, rules in roles.items()}


def _below_root(topics: Topics, speeches: Sequence[Speech]) -> list[tuple[str, str]]:
    """Return what a device could say below the root, if it were called like its first level: of the default one none
    is called so, and the rules would only cost each message a look."""
    first = topics.root.partition("/")[0]
    if first in RESERVED_IDS:
        return []
    own = (topic for speech in speeches if speech.is_own for topic in speech.topics)
    return [("publishClientSend", f"{first}{topic[1:]}") for topic in own if topic.startswith("+/")]


def _denials(rules: Iterable[Rule], closed: Iterable[tuple[str, str]]) -> list[Rule]:
    """Return what closes topics to a role, but for those that its own rules are about."""
    own = {(rule.acltype, rule.topic) for rule in rules}
    return [Rule(kind, topic, allow=False) for kind, topic in closed if (kind, topic) not in own]


def _own_rules(topics: Topics, speeches: Sequence[Speech]) -> dict[str, list[Rule]]:
    telemetry, status = topics.every(Channel.TELEMETRY), topics.every(Channel.STATUS)
    return {
        Service.ADMIN: [
            Rule("publishClientSend", "$CONTROL/dynamic-security/#"),
            Rule("publishClientReceive", "$CONTROL/dynamic-security/#"),
            Rule("subscribePattern", "$CONTROL/dynamic-security/#"),
            # Whom the broker sends away.
            Rule("subscribeLiteral", LOG_TOPIC),
            Rule("publishClientReceive", LOG_TOPIC),
        ],
        Service.INGEST: [
            Rule("subscribePattern", telemetry),
            Rule("publishClientReceive", telemetry),
            Rule("subscribePattern", status),
            Rule("publishClientReceive", status),
            Rule("publishClientSend", topics.every(Channel.ERRORS)),
            Rule("publishClientSend", topics.every(Channel.STORED)),
            *(
                Rule(kind, topic)
                for speech in speeches
                for topic in speech.topics
                for kind in ("subscribePattern", "publishClientReceive")
            ),
            *(Rule("publishClientSend", topic) for speech in speeches for topic in speech.answers),
            Rule("unsubscribePattern", f"{topics.root}/#"),
            # What the broker holds for it.
            *(
                Rule(kind, count)
                for count in (BROKER_STORED, BROKER_RETAINED)
                for kind in ("subscribePattern", "publishClientReceive")
            ),
        ],
        # A gateway: it speaks for devices other than itself, so only a simulated city gets this account.
        Service.SIMULATOR: [
            Rule("publishClientSend", telemetry),
            Rule("publishClientSend", status),
            Rule("subscribePattern", topics.every(Channel.STORED)),
            Rule("publishClientReceive", topics.every(Channel.STORED)),
        ],
        DEVICE_ROLE: _subscribing(topics.every(channel) for channel in DEVICE_RECEIVES),
        CLAIM_ROLE: _subscribing([topics.every(ClaimChannel.CLAIMED)]),
        Service.CLAIMS: [
            Rule("subscribePattern", topics.every(ClaimChannel.CLAIM)),
            Rule("publishClientReceive", topics.every(ClaimChannel.CLAIM)),
            Rule("publishClientSend", topics.every(ClaimChannel.CLAIMED)),
        ],
        Service.ALERTS: [Rule("publishClientSend", topics.all_of_alerts), *_NO_SUBSCRIPTION],
        Service.LISTENER: [
            Rule("subscribePattern", topics.all_of_alerts, priority=1),
            Rule("publishClientReceive", topics.all_of_alerts),
            *_NO_SUBSCRIPTION,
        ],
        **{gateway_role(speech.name): _speaking(speech) for speech in speeches if not speech.is_own},
    }


def _speaking(speech: Speech) -> list[Rule]:
    """Return the rules of gateways: they speak for any device of their format, and hear what they are answered."""
    return [
        *(Rule("publishClientSend", topic) for topic in speech.topics),
        *(Rule("publishClientReceive", topic) for topic in speech.answers),
        *(Rule("subscribePattern", topic, priority=1) for topic in speech.asked_for),
        *_NO_SUBSCRIPTION,
    ]


def _subscribing(received: Iterable[str]) -> list[Rule]:
    """Return the rules of who subscribes to topics of these patterns, one by one, and to nothing else."""
    received = list(received)
    # The access file refuses no subscription; what it lets nobody read is not delivered. But a device that had joined
    # the share of ingest's workers would be given its part, and that would be gone; and to find out that a wildcard's
    # owner may not read it costs the broker a look at the rules for each message of the city.
    return [
        *(Rule("subscribeLiteral", every, allow=False, priority=2) for every in received),
        *(Rule("subscribePattern", every, priority=1) for every in received),
        *_NO_SUBSCRIPTION,
    ]


def access_file(topics: Topics, speeches: Sequence[Speech]) -> str:
    """Return the access file: what every device may do below its own id, and nothing else."""
    lines = ["# A device is let in with its id as client id alone; %c stands for it."]
    lines += [f"pattern write {topics.of('%c', channel)}" for channel in DEVICE_SENDS]
    lines += [f"pattern read {topics.of('%c', channel)}" for channel in DEVICE_RECEIVES]
    # Of the accounts of batches, which are let in with their name as client id.
    lines += [
        f"pattern write {topics.of('%c', ClaimChannel.CLAIM)}",
        f"pattern read {topics.of('%c', ClaimChannel.CLAIMED)}",
    ]
    # Last: the broker tries one after the other.
    lines += [
        f"pattern write {topic}" for speech in speeches if speech.is_own for topic in speech.of_each_client
    ]
    return "\n".join(lines) + "\n"


def _client(username: str, secret: Hashed, role: str) -> dict[str, Any]:
    return {
        "username": username,
        "password": base64.b64encode(secret.hash).decode(),
        "salt": base64.b64encode(secret.salt).decode(),
        "iterations": secret.iterations,
        "roles": [{"rolename": role}],
    }


def _device(username: str, secret: DeviceSecret) -> dict[str, Any]:
    # With another client id it is not let in: so nobody ends, or takes over, the session of somebody else.
    return {
        **_client(username, secret, role_of(username)),
        "clientid": client_id_of(username),
        "disabled": secret.is_disabled,
    }


def dynamic_security_file(
    topics: Topics,
    speeches: Sequence[Speech],
    services: Mapping[Service, HashedSecret],
    devices: Iterable[tuple[str, DeviceSecret]],
) -> bytes:
    """Return the whole file of the dynamic-security plugin: a fleet is loaded at once, not by commands. ``devices`` are
    their user names and secrets, those of batches and gateways among them.

    What no rule allows is refused.
    """
    # The plugin puts each into the list of its role by walking to its place from the first on: in this order that is at
    # once. In the other one 100,000 took it more than a minute, in this one a second.
    clients = [
        *(_client(service, secret, service) for service, secret in services.items()),
        *(_device(username, secret) for username, secret in devices),
    ]
    document = {
        "defaultACLAccess": {
            "publishClientSend": False,
            "publishClientReceive": False,
            "subscribe": False,
            "unsubscribe": True,
        },
        "roles": [
            {
                "rolename": role,
                "acls": [dataclasses.asdict(rule) for rule in rules],
            }
            for role, rules in _roles(topics, speeches).items()
        ],
        "clients": sorted(clients, key=lambda client: str(client["username"]).encode(), reverse=True),
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)
