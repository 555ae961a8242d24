"""Whom the broker sends away, as its log says it: the only word that Mosquitto has about that.

Refused publishes and subscriptions are not among them: those it logs only with every other packet, at the level for
debugging, which costs more than to handle the packet. Each is answered with "not authorized" instead.
"""

from __future__ import annotations

import dataclasses
import enum
import re

LOG_TOPIC = "$SYS/broker/log/N"


class Why(enum.StrEnum):
    """Why a connection was not let in, or was ended."""

    NOT_AUTHORIZED = "not_authorized"  # no account, a wrong secret, somebody else's client id
    MALFORMED = "malformed"
    PROTOCOL = "protocol"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"


@dataclasses.dataclass(frozen=True, slots=True)
class Dismissal:
    """Who was sent away: the client id that it gave, if any, or the address."""

    why: Why
    client_id: str | None = None
    address: str | None = None


# A client may call itself like a line of the log: only the end of a line is the broker's.
_CLIENT = re.compile(
    r"\d+: Client (?P<client>.*) disconnected"
    r"(?P<end>, not authorised| due to (?:malformed packet|protocol error|oversize packet|oversize payload))\.",
    re.DOTALL,
)
_CONNECTION = re.compile(
    r"\d+: Client connection from (?P<address>\S+) denied: max_connections exceeded\.", re.DOTALL
)
_WHY = {
    ", not authorised": Why.NOT_AUTHORIZED,
    " due to malformed packet": Why.MALFORMED,
    " due to protocol error": Why.PROTOCOL,
    " due to oversize packet": Why.TOO_LARGE,
    " due to oversize payload": Why.TOO_LARGE,
}


def dismissal_of(line: bytes) -> Dismissal | None:
    """Return whom a line of the log says to have been sent away, None where it says something else."""
    if not line.endswith(b"."):
        return None
    text = line.decode(errors="replace")
    if found := _CLIENT.fullmatch(text):
        client = found["client"]
        return Dismissal(_WHY[found["end"]], client_id=None if client == "<unknown>" else client)
    if found := _CONNECTION.fullmatch(text):
        return Dismissal(Why.TOO_MANY, address=found["address"])
    return None
