"""From what holds to states, without a clock or a database."""

from __future__ import annotations

import dataclasses
import itertools

from hypothesis import given
from hypothesis import strategies as st

from alerts.finding import Finding
from alerts.states import clear_time, plan
from sensors.times import SECOND
from storage.alerts import AlertState
from tests.alerts.making import MINUTE, NOON, PATTERN, ZONE, Kept

PENDING, FIRING, ACKNOWLEDGED, RESOLVED = AlertState
HOLD, CLEAR = 3 * MINUTE, 2 * MINUTE
LASTING = dataclasses.replace(PATTERN, fingerprint="f", since=NOON, hold=HOLD, clear=CLEAR)
# Of each pass: how long after the one before, whether it is found (None: between the limits), whether somebody
# acknowledges it then.
PASSES = st.lists(
    st.tuples(st.integers(1, 200), st.sampled_from([True, False, None]), st.booleans()), max_size=60
)


def found(holds: bool | None, now: int, kept: Kept) -> list[Finding]:
    known = kept.active.get("f")
    since = now if known is None else known.since
    return [] if holds is False else [dataclasses.replace(LASTING, since=since, begins=holds is True)]


def test_what_lasts_is_pending_fires_is_acknowledged_and_ends() -> None:
    kept = Kept()
    for minute in (0, 1, 2, 3):
        kept.step([LASTING], NOON + minute * MINUTE)
    kept.acknowledge("f")
    for minute in (4, 5, 6):
        kept.step([], NOON + minute * MINUTE)
    assert [state for _, state in kept.steps] == [PENDING, FIRING, ACKNOWLEDGED, RESOLVED]


def test_what_need_not_last_fires_at_once_and_is_over_at_once() -> None:
    kept = Kept()
    kept.step([PATTERN], NOON)
    kept.step([], NOON + MINUTE)
    assert kept.steps == [(PATTERN.fingerprint, FIRING), (PATTERN.fingerprint, RESOLVED)]


def test_what_comes_and_goes_stays_one_alert_after_a_few_times() -> None:
    kept = Kept()
    for at in range(0, 120 * MINUTE, 10 * SECOND):
        kept.step([PATTERN] if at // MINUTE % 2 else [], NOON + at)
    # Without damping it would be sixty.
    assert [state for _, state in kept.steps].count(FIRING) <= 2
    assert kept.active[PATTERN.fingerprint].state is FIRING


def test_the_wait_doubles_up_to_an_hour() -> None:
    assert [clear_time(0, ended) // MINUTE for ended in (0, 1, 2, 6, 1000)] == [0, 2, 4, 60, 60]
    assert clear_time(90 * MINUTE, 5) == 90 * MINUTE


def test_what_nothing_is_known_of_stays_as_it_is() -> None:
    kept = Kept()
    kept.step([PATTERN], NOON)
    assert plan(kept.active.values(), [], NOON + MINUTE, ZONE, {"anomaly"}).changes == []
    assert plan(kept.active.values(), [], NOON + MINUTE, ZONE, {"another"}).changes[0].state is RESOLVED


def test_what_it_says_is_renewed_every_five_minutes_and_that_is_no_step() -> None:
    kept = Kept()
    kept.step([PATTERN], NOON)
    later = dataclasses.replace(PATTERN, sentence="another")
    assert plan(kept.active.values(), [later], NOON + 4 * MINUTE, ZONE).changes == []
    (change,) = plan(kept.active.values(), [later], NOON + 5 * MINUTE, ZONE).changes
    assert change.content is not None
    assert change.step is None


def test_an_end_says_since_when_and_what_it_was_in_every_language_it_had() -> None:
    for message in (PATTERN.message, None):
        kept = Kept()
        kept.step([dataclasses.replace(PATTERN, message=message)], NOON)
        (change,) = plan(kept.active.values(), [], NOON + MINUTE, ZONE).changes
        assert change.step == f"It is over since 17:01. It was: {PATTERN.sentence}"
        if message is None:
            assert change.step_message is None
        else:
            assert change.step_message is not None
            over, *rest = change.step_message["sentence"]
            assert over["key"] == "alert.text.over"
            assert (change.step_message["title"], rest) == (message["title"], message["sentence"])


def test_another_severity_is_a_step_of_what_fires_or_is_acknowledged_and_of_what_is_pending_none() -> None:
    kept = Kept()
    kept.step([PATTERN], NOON)
    worse, better = (dataclasses.replace(PATTERN, severity=one) for one in ("critical", "info"))
    kept.step([worse], NOON + SECOND)
    kept.acknowledge(PATTERN.fingerprint)
    kept.step([better], NOON + 2 * SECOND)
    kept.step([better], NOON + 3 * SECOND)
    assert [state for _, state in kept.steps] == [FIRING, FIRING, ACKNOWLEDGED, ACKNOWLEDGED]
    assert kept.active[PATTERN.fingerprint].severity == "info"
    kept = Kept()
    kept.step([LASTING], NOON)
    kept.step([dataclasses.replace(LASTING, severity="critical")], NOON + SECOND)
    assert [state for _, state in kept.steps] == [PENDING]
    assert kept.active["f"].severity == "critical"


def test_its_end_is_told_by_the_citys_clock_with_the_day_where_that_is_not_today() -> None:
    kept, evening = Kept(), NOON + 6 * 60 * MINUTE  # 23:00 in Almaty
    kept.step([dataclasses.replace(PATTERN, clear=90 * MINUTE)], evening)
    kept.step([], evening + MINUTE)
    (change,) = plan(kept.active.values(), [], evening + 91 * MINUTE, ZONE).changes
    assert change.step == f"It is over since 15 Jan, 23:01. It was: {PATTERN.sentence}"


@given(PASSES)
def test_every_course_keeps_the_order_of_states(passes: list[tuple[int, bool | None, bool]]) -> None:
    kept, now = Kept(), NOON
    for wait, holds, acknowledges in passes:
        now += wait * SECOND
        before = len(kept.steps)
        kept.step(found(holds, now, kept), now)
        if acknowledges and "f" in kept.active:
            kept.acknowledge("f")
        # A pass that is made again, as after a crash, adds nothing.
        after = len(kept.steps)
        kept.step(found(holds, now, kept), now)
        assert len(kept.steps) == after
        assert after - before <= 2
    states = [state for _, state in kept.steps]
    allowed = {
        (PENDING, FIRING),
        (PENDING, RESOLVED),
        (FIRING, ACKNOWLEDGED),
        (FIRING, RESOLVED),
        (ACKNOWLEDGED, RESOLVED),
        (RESOLVED, PENDING),
    }
    assert set(itertools.pairwise(states)) <= allowed
    assert not states or states[0] is PENDING


@given(PASSES)
def test_nothing_fires_before_it_has_lasted_nor_ends_before_it_was_gone(
    passes: list[tuple[int, bool | None, bool]],
) -> None:
    kept, now, seen, began = Kept(), NOON, NOON, NOON
    for wait, holds, _ in passes:
        now += wait * SECOND
        known = kept.active.get("f")
        kept.step(found(holds, now, kept), now)
        if holds is not False:
            began = now if known is None else began
            seen = now
        if known is None and "f" in kept.active:
            assert holds is True
        last = kept.steps[-1][1] if kept.steps else None
        if known and known.state is PENDING and last is FIRING:
            assert now - began >= HOLD
        if known and known.state is FIRING and "f" not in kept.active:
            assert now - seen >= CLEAR
