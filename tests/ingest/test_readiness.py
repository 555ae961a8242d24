"""The states of a worker, and what is said of each."""

from __future__ import annotations

import dataclasses

import pytest

from ingest.readiness import Facts, State, judge

FLOWING = Facts(
    is_stopping=False,
    is_database_available=True,
    is_broker_connected=True,
    seconds_in_transaction=0.01,
    held=1,
    window=60_000,
    backlog=1,
)
CASES = [
    ({}, State.RECEIVING, "receiving; 1 message waits for its commit"),
    ({"held": 0, "backlog": None}, State.RECEIVING, "receiving; 0 messages wait for their commit"),
    ({"held": 60_000, "backlog": 1_234_567}, State.DRAINING, "draining a backlog of 1,234,567 messages"),
    (
        {"held": 60_000, "backlog": None},
        State.DRAINING,
        "draining a backlog; the window of 60,000 messages is full, what waits at the broker is unknown",
    ),
    (
        {"held": 0, "backlog": 70_000},
        State.RECEIVING,
        "receiving; nothing waits here, but the broker holds 70,000 messages, "
        "of a worker or client that is away",
    ),
    (
        {"is_database_available": False, "is_broker_connected": False, "held": 512, "backlog": 2512},
        State.DATABASE_AWAY,
        "database away; 512 messages wait here, 2,000 at the broker",
    ),
    (
        {"is_database_available": False, "held": 512, "backlog": None},
        State.DATABASE_AWAY,
        "database away; 512 messages wait here, the rest at the broker",
    ),
    # The broker's count may be older than ours.
    (
        {"is_database_available": False, "held": 512, "backlog": 500},
        State.DATABASE_AWAY,
        "database away; 512 messages wait here, 0 at the broker",
    ),
    ({"is_broker_connected": False}, State.BROKER_AWAY, "broker away"),
    (
        {"seconds_in_transaction": 7.2, "held": 3, "backlog": 3},
        State.DATABASE_SLOW,
        "the database has not answered for 7 s; 3 messages wait here, 0 at the broker",
    ),
    (
        {"is_stopping": True, "is_database_available": False},
        State.STOPPING,
        "stopping; 1 message waits here, the rest at the broker",
    ),
]


@pytest.mark.parametrize(("changes", "state", "sentence"), CASES)
def test_a_state_is_told_by_what_most_keeps_readings_from_flowing(
    changes: dict[str, int | None], state: State, sentence: str
) -> None:
    judged = judge(dataclasses.replace(FLOWING, **changes))  # type: ignore[arg-type]
    assert (judged.state, judged.sentence) == (state, sentence)


def test_only_what_flows_is_ready_and_every_state_is_reached() -> None:
    judged = [judge(dataclasses.replace(FLOWING, **changes)) for changes, _, _ in CASES]  # type: ignore[arg-type]
    assert {each.state for each in judged if each.is_ready} == {State.RECEIVING, State.DRAINING}
    assert {each.state for each in judged} == set(State)
