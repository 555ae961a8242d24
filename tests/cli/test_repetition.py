"""An incident is one line, and the next one says how often it came between."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from cli.repetition import Repetition


class Log:
    """The processor with a clock of its own; ``written`` is what it let through."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.written: list[dict[str, Any]] = []
        self._processor = Repetition(60.0, lambda: self.now)

    def __call__(self, event: str, **about: Any) -> bool:
        try:
            self.written.append(self._processor(None, "warning", {"event": event, **about}))
        except structlog.DropEvent:
            return False
        return True


@pytest.fixture
def log() -> Log:
    return Log()


def test_the_same_event_is_written_once_an_interval_with_the_count_of_what_was_left_out(log: Log) -> None:
    assert [log("database away", error=str(n)) for n in range(1000)] == [True] + [False] * 999
    log.now += 60
    log("database away", error="last")
    log.now += 60
    log("database away", error="alone")
    assert log.written == [
        {"event": "database away", "error": "0"},
        {"event": "database away", "error": "last", "repeated": 999},
        {"event": "database away", "error": "alone"},
    ]


def test_another_event_is_written_at_once(log: Log) -> None:
    assert log("database away")
    assert log("broker away")


def test_what_ends_an_incident_is_written_as_often_as_its_beginning(log: Log) -> None:
    """So that the log does not end with trouble that has passed."""
    assert log("away")
    log.now += 59
    assert log("back", ends=("away",))
    log.now += 2
    assert log("away")
    log.now += 1
    assert log("back", ends=("away",))  # three seconds after the last, but the last line was "away"
    log.now += 1
    assert not log("back", ends=("away",))
    assert all("ends" not in line for line in log.written)


def _raise(error: Exception) -> Exception:
    try:
        raise error
    except Exception as raised:  # noqa: BLE001 - whatever it is
        return raised


def test_errors_of_other_kinds_and_places_are_other_incidents(log: Log) -> None:
    def elsewhere() -> Exception:
        try:
            raise KeyError("a")
        except KeyError as error:
            return error

    assert log("request failed", exc_info=_raise(KeyError("a")))
    assert not log("request failed", exc_info=_raise(KeyError("b")))
    assert log("request failed", exc_info=_raise(ValueError("a")))
    assert log("request failed", exc_info=elsewhere())


def test_an_event_is_known_by_its_first_line(log: Log) -> None:
    assert log("Task exception was never retrieved\nfuture: <Task at 0x7f01>")
    assert not log("Task exception was never retrieved\nfuture: <Task at 0x7f02>")


def test_memory_is_bounded(log: Log) -> None:
    for number in range(3000):
        log(f"event {number}")
        log(f"event {number}")
    assert len(log._processor._written) == len(log._processor._left_out) == 1000
    assert log("event 0")
