"""What a worker is doing, in one word and one sentence: the rules of ``/readyz``, without I/O."""

from __future__ import annotations

import dataclasses
import enum
from typing import NamedTuple

_SLOW_SECONDS = 5.0


class State(enum.StrEnum):
    """The closed set of states; ``docs/operations.md`` explains each."""

    RECEIVING = "receiving"
    DRAINING = "draining"
    DATABASE_AWAY = "database_away"
    DATABASE_SLOW = "database_slow"
    BROKER_AWAY = "broker_away"
    STOPPING = "stopping"


class Readiness(NamedTuple):
    """Whether readings flow, and what keeps them or is being done about it."""

    is_ready: bool
    sentence: str
    state: State


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What is known at one moment; counts of messages, and seconds."""

    is_stopping: bool
    is_database_available: bool
    is_broker_connected: bool
    seconds_in_transaction: float
    held: int  # taken and not yet acknowledged
    window: int  # as many as the broker hands over before we acknowledge
    backlog: int | None  # what the broker holds, those handed over included; None: it does not say


def judge(facts: Facts) -> Readiness:
    """Return the state that most keeps readings from flowing. Draining is flowing."""
    here = f"{_messages(facts.held)} here"
    if facts.is_stopping:
        return _readiness(State.STOPPING, f"stopping; {here}, the rest at the broker")
    if not facts.is_database_available:
        return _readiness(State.DATABASE_AWAY, f"database away; {here}, {_rest(facts)} at the broker")
    if not facts.is_broker_connected:
        return _readiness(State.BROKER_AWAY, "broker away")
    if facts.seconds_in_transaction > _SLOW_SECONDS:
        silent = f"the database has not answered for {facts.seconds_in_transaction:.0f} s"
        return _readiness(State.DATABASE_SLOW, f"{silent}; {here}, {_rest(facts)} at the broker")
    return _flowing(facts)


def _readiness(state: State, sentence: str) -> Readiness:
    return Readiness(state in {State.RECEIVING, State.DRAINING}, sentence, state)


def _messages(count: int) -> str:
    return "1 message waits" if count == 1 else f"{count:,} messages wait"


def _rest(facts: Facts) -> str:
    return "the rest" if facts.backlog is None else f"{max(0, facts.backlog - facts.held):,}"


def _flowing(facts: Facts) -> Readiness:
    if facts.backlog is None and facts.held >= facts.window:
        full = f"the window of {facts.window:,} messages is full"
        return _readiness(State.DRAINING, f"draining a backlog; {full}, what waits at the broker is unknown")
    if facts.backlog is not None and facts.backlog > facts.window:
        if facts.held:
            return _readiness(State.DRAINING, f"draining a backlog of {facts.backlog:,} messages")
        others = f"the broker holds {facts.backlog:,} messages, of a worker or client that is away"
        return _readiness(State.RECEIVING, f"receiving; nothing waits here, but {others}")
    return _readiness(State.RECEIVING, f"receiving; {_messages(facts.held)} for {_commit(facts.held)}")


def _commit(count: int) -> str:
    return "its commit" if count == 1 else "their commit"
