"""What an evaluation says: all that holds at this moment, each thing with its reason in a sentence."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sensors.messages import AlertMessage
from storage.kinds import Connection


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that holds now. Two with the same fingerprint are the same thing, seen at two times.

    ``sentence`` says value, limit or band, and since when, in plain English, ``message`` the same in every
    language; ``low`` and ``high`` bound what was expected, in the metric's unit, None where it has no such
    bound; ``since`` is in µs since 1970, UTC. ``hold`` is how long it must go on until it counts, ``clear`` how
    long it must be gone until it is over, both in µs. Where ``begins`` is false, it keeps up an alert that
    there is and raises none: between the two limits of a hysteresis, or while something is being maintained.
    """

    fingerprint: str
    rule: str | None
    kind_of_rule: str
    severity: str
    title: str
    sentence: str
    device: str | None
    kind: str | None
    district: str | None
    metric: str | None
    value: float | None
    low: float | None
    high: float | None
    since: int
    evidence: Mapping[str, object] = field(default_factory=dict)
    hold: int = 0
    clear: int = 0
    begins: bool = True
    message: AlertMessage | None = None


class NotYetError(Exception):
    """An evaluation can't say anything yet; alerts of it stay as they are."""


class Find(Protocol):
    """An evaluation: everything that holds at ``now`` (µs); what it no longer returns is over.

    It reads only, in its own words to the database, and raises StorageError where that does not answer.
    """

    def __call__(self, connection: Connection, now: int) -> Awaitable[list[Finding]]: ...
