"""Sparkplug B 3.0: edge nodes and their devices, whose metrics only their births name.

The state of each node is kept as its messages say it. A request for a birth goes out when data can't be named or
messages are missing; the time that limits them is that of receipt, so that this is a function of its messages.
"""

from __future__ import annotations

import dataclasses
import math

from ingest.decoders.known import Known
from ingest.decoders.parsed import Format, Incoming, Parsed, Refusal, Reply, Status, refuse
from ingest.decoders.sparkplug_births import (
    LONGEST_NAME,
    MOST_NAMES_OF_A_NODE,
    Birth,
    death_sequence,
    find,
    gather,
    learn,
)
from ingest.decoders.sparkplug_payload import MisfitError, Payload, read_payload, rebirth_request
from sensors.checks import Reason

# Some 50 MB: a city of thousands of gateways stays below, a hostile one evicts and is evicted.
MOST_NAMES = 200_000
# A node that answers needs a round trip for its births; one that does not is not to be drowned in requests.
SECONDS_BETWEEN_REQUESTS = 10.0

_NODE = ""


@dataclasses.dataclass(slots=True)
class Node:
    """An edge node: its births, by device (``""`` is the node itself), and where its session stands.

    ``seq`` is the number that its next message has, ``death`` the ``bdSeq`` of its birth, and ``asked`` when
    births were last asked for, in Unix seconds.
    """

    births: dict[str, Birth] = dataclasses.field(default_factory=dict)
    seq: int | None = None
    death: int | None = None
    asked: float = -math.inf

    @property
    def size(self) -> int:
        """Return how many names it is known by."""
        return sum(birth.size + 1 for birth in self.births.values())


@dataclasses.dataclass(frozen=True, slots=True)
class _Message:
    """A message of a node; ``device`` is ``""`` for its own."""

    kind: str
    group: str
    edge: str
    device: str
    payload: Payload
    received: float

    @property
    def key(self) -> str:
        return f"{self.group}/{self.edge}"

    @property
    def source(self) -> str:
        return f"{self.key}/{self.device}" if self.device else self.key


def decode(incoming: Incoming, nodes: Known[Node]) -> Parsed:
    """Return what a message says, by the births before it; the births themselves are readings as well."""
    if not all(incoming.levels) or len("/".join(incoming.levels)) > LONGEST_NAME:
        valid = f"ids that have at most {LONGEST_NAME} characters together"
        return refuse(Reason.UNKNOWN_TOPIC, "", "an id too long or empty", valid)
    try:
        payload = read_payload(incoming.payload)
    except MisfitError as misfit:
        return refuse(misfit.reason, "", misfit.found, misfit.valid)
    group, edge, *devices = incoming.levels
    known = nodes.get(f"{group}/{edge}")
    node = known or Node()
    kind = incoming.topic.split("/")[2]
    device = devices[0] if devices else _NODE
    message = _Message(kind, group, edge, device, payload, incoming.received)
    parsed = Parsed()
    _HANDLERS[kind](message, node, parsed)
    if known is None or kind not in ("NDATA", "DDATA"):
        nodes.keep(message.key, node, node.size)
    return parsed


def _node_birth(message: _Message, node: Node, parsed: Parsed) -> None:
    death = death_sequence(message.payload)
    if _NODE in node.births and death != node.death:
        # A new session: its devices are there once they are born in it.
        _devices_are_gone(message, node, parsed)
        node.births.clear()
    _birth(message, node, parsed)
    node.death, node.seq = death, _next(message.payload.seq)


def _device_birth(message: _Message, node: Node, parsed: Parsed) -> None:
    _follow(message, node, parsed)
    _birth(message, node, parsed)
    if _NODE not in node.births:
        _ask(message, node, parsed)


def _birth(message: _Message, node: Node, parsed: Parsed) -> None:
    others = sum(birth.size + 1 for device, birth in node.births.items() if device != message.device)
    room = MOST_NAMES_OF_A_NODE - others
    birth, metrics_are = learn(message.payload.metrics, room, parsed)
    gather(message.payload, metrics_are, message.source, parsed)
    parsed.is_lesson = True
    if room > 0:
        node.births[message.device] = birth
        parsed.statuses.append(Status(message.source, is_online=True, time=message.payload.time))


def _data(message: _Message, node: Node, parsed: Parsed) -> None:
    _follow(message, node, parsed)
    birth = node.births.get(message.device)
    if birth is None:
        found = f"{message.kind} before {message.kind[0]}BIRTH"
        valid = "a birth first, which was asked for; replay this once it came"
        parsed.refusals.append(Refusal(Reason.NO_BIRTH, "", found, valid))
        _ask(message, node, parsed)
        return
    metrics_are = find(message.payload.metrics, birth, parsed)
    if any(refusal.reason is Reason.NO_BIRTH for refusal in parsed.refusals):
        _ask(message, node, parsed)
    gather(message.payload, metrics_are, message.source, parsed)


def _node_death(message: _Message, node: Node, parsed: Parsed) -> None:
    death = death_sequence(message.payload)
    if death is None:
        valid = "a metric bdSeq with the number that the NBIRTH has"
        parsed.refusals.append(Refusal(Reason.BAD_SEQUENCE, "/metrics", "no bdSeq", valid))
        return
    if _NODE in node.births and death != node.death:
        return  # the will of an earlier session, which the broker was late to send
    # Its timestamp is of when the will was made: at the beginning of the session, not at its end.
    parsed.statuses.append(Status(message.source, is_online=False))
    _devices_are_gone(message, node, parsed)
    node.births.clear()
    node.seq = node.death = None


def _device_death(message: _Message, node: Node, parsed: Parsed) -> None:
    _follow(message, node, parsed)
    node.births.pop(message.device, None)
    parsed.statuses.append(Status(message.source, is_online=False, time=message.payload.time))


def _devices_are_gone(message: _Message, node: Node, parsed: Parsed) -> None:
    parsed.statuses.extend(
        Status(f"{message.key}/{device}", is_online=False) for device in node.births if device != _NODE
    )


def _follow(message: _Message, node: Node, parsed: Parsed) -> None:
    """Count a message of the session, and ask for the births if one before it is missing."""
    seq = message.payload.seq
    if seq is None:
        return
    expected, node.seq = node.seq, _next(seq)
    # The same message twice is none missing.
    if expected is not None and expected not in (seq, node.seq):
        _ask(message, node, parsed)


def _next(seq: int | None) -> int | None:
    return None if seq is None else (seq + 1) % 256


def _ask(message: _Message, node: Node, parsed: Parsed) -> None:
    if abs(message.received - node.asked) < SECONDS_BETWEEN_REQUESTS:
        return
    node.asked = message.received
    request = rebirth_request(max(0, round(message.received * 1000)))
    parsed.replies.append(Reply(f"spBv1.0/{message.group}/NCMD/{message.edge}", request))


_HANDLERS = {
    "NBIRTH": _node_birth,
    "DBIRTH": _device_birth,
    "NDATA": _data,
    "DDATA": _data,
    "NDEATH": _node_death,
    "DDEATH": _device_death,
}


def _nothing_known() -> Known[Node]:
    return Known(MOST_NAMES)


FORMAT = Format(
    "sparkplug",
    "Sparkplug B",
    (
        *(f"spBv1.0/+/{kind}/+" for kind in ("NBIRTH", "NDATA", "NDEATH")),
        *(f"spBv1.0/+/{kind}/+/+" for kind in ("DBIRTH", "DDATA", "DDEATH")),
    ),
    decode,
    _nothing_known,
    answers=("spBv1.0/+/NCMD/+",),
    mixes=True,
)
