"""Refused messages are kept whole or counted, and none vanishes; and the alarm when nearly all are refused."""

from __future__ import annotations

import collections

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.alarm import RefusalAlarm
from ingest.arrivals import Arrivals
from ingest.intake import Cut
from ingest.letters import LetterPolicy, LetterQuota
from ingest.routes import Routes
from sensors.catalogue import Catalogue
from sensors.checks import Reason, TimeWindow
from sensors.times import SECOND
from sensors.topics import Topics
from storage.dead_letters import Letters

NOW = 1_767_225_600 * SECOND
MINUTE = 60 * SECOND
POLICY = LetterPolicy(each=3, strangers=5, total=12)

_messages = st.tuples(
    st.sampled_from([f"topic-{n}" for n in range(8)]), st.sampled_from(list(Reason)[:4]), st.booleans()
)


@given(st.lists(st.tuples(_messages, st.integers(0, 20)), max_size=400))
def test_every_message_is_kept_or_counted_in_a_letter_of_its_reason_that_was_kept(
    messages: list[tuple[tuple[str, Reason, bool], int]],
) -> None:
    quota, now = LetterQuota(POLICY), NOW
    repeats: dict[tuple[tuple[str, int], Reason], int] = {}
    of_minute: collections.Counter[int] = collections.Counter()
    of_key: collections.Counter[tuple[int, str, Reason]] = collections.Counter()
    for received, ((topic, reason, has_device), seconds) in enumerate(messages):
        now += seconds * SECOND
        target = quota.fold_into(topic, reason, received, now, has_device=has_device)
        if target is None:
            repeats[(topic, received), reason] = 0
            of_minute[now // MINUTE] += 1
            of_key[now // MINUTE, topic, reason] += 1
        else:
            repeats[target, reason] += 1  # KeyError: no such letter was kept
    assert of_key.total() + sum(repeats.values()) == len(messages)
    # One of each reason is kept, so that there is a letter to count in.
    assert all(count <= POLICY.total + len(Reason) for count in of_minute.values())
    assert all(count <= POLICY.each for count in of_key.values())


def test_a_scanner_of_ever_new_topics_is_bounded() -> None:
    quota = LetterQuota(POLICY)
    targets = [
        quota.fold_into(f"scan-{n}", Reason.UNKNOWN_TOPIC, n, NOW, has_device=False) for n in range(1000)
    ]
    assert targets.count(None) == 5
    assert targets[-1] == ("scan-4", 4)
    assert quota.fold_into("a", Reason.UNDECODABLE, 0, NOW, has_device=True) is None, (
        "others are kept beside it"
    )
    assert len(quota._kept) < 20


@pytest.fixture
def routes(catalogue: Catalogue) -> Routes:
    routes = Routes(Topics())
    routes.set_catalogue(catalogue)
    routes.add([(1, "a", "noise", 60.0)])
    return routes


def bad(packet_id: int | None, *, duplicate: bool = False) -> mqtt5.PublishPacket:
    qos = mqtt5.QoS.AT_LEAST_ONCE if packet_id else mqtt5.QoS.AT_MOST_ONCE
    topic = "alatau/v1/a/telemetry"
    return mqtt5.PublishPacket(topic, b"bad", qos=qos, packet_id=packet_id, duplicate=duplicate)


def count(letters: Letters) -> int:
    return len(letters.kept) + sum(fold.count for fold in letters.folds)


def test_a_cut_settles_its_letters_once(routes: Routes) -> None:
    cut, quota = Cut(routes, Arrivals()), LetterQuota(POLICY)
    cut.feed([bad(n) for n in range(1, 11)], NOW)
    cut.check(NOW, TimeWindow())
    first = cut.settle(quota, NOW)
    assert cut.settle(quota, NOW + MINUTE) is first
    assert (len(first.kept), [fold.count for fold in first.folds]) == (3, [7])
    assert first.folds[0].letter.payload == b"bad"


def test_a_flood_on_many_topics_counts_in_few_letters(catalogue: Catalogue) -> None:
    routes = Routes(Topics())
    routes.set_catalogue(catalogue)
    routes.add([(n, f"d{n}", "noise", 60.0) for n in range(1, 1001)])
    quota, policy = LetterQuota(LetterPolicy(each=1)), LetterPolicy()
    settled = []
    for cut in (Cut(routes, Arrivals()), Cut(routes, Arrivals())):
        packets = [mqtt5.PublishPacket(f"alatau/v1/d{n}/telemetry", b"bad") for n in range(1, 1001)]
        cut.feed(packets, NOW)
        cut.check(NOW, TimeWindow())
        settled.append(cut.settle(quota, NOW))
    assert [count(letters) for letters in settled] == [1000, 1000]
    assert (len(settled[0].kept), len(settled[1].kept)) == (1000, 0)
    assert len(settled[1].folds) <= policy.counted + 1


def test_a_refused_message_that_is_delivered_again_is_counted_once(routes: Routes) -> None:
    arrivals, quota = Arrivals(), LetterQuota(POLICY)
    cut = Cut(routes, arrivals)
    cut.feed([bad(n) for n in range(1, 11)], NOW)
    cut.check(NOW, TimeWindow())
    assert count(cut.settle(quota, NOW)) == 10
    slot = arrivals.slot()
    assert slot is not None
    restarted = Arrivals()
    restarted.load([slot])
    again = Cut(routes, restarted)
    again.feed([bad(n, duplicate=True) for n in range(1, 16)], NOW + SECOND)
    again.check(NOW, TimeWindow())
    assert count(again.settle(quota, NOW)) == 5, "those that had not been committed"


def test_a_message_of_qos_0_makes_its_cut_known_too(routes: Routes) -> None:
    """So that a commit of unknown outcome is recognised when it is repeated."""
    arrivals = Arrivals()
    cut = Cut(routes, arrivals)
    cut.feed([bad(None)], NOW)
    cut.check(NOW, TimeWindow())
    cut.settle(LetterQuota(), NOW)
    assert arrivals.slot() is not None


def test_the_alarm_is_raised_when_nearly_everything_of_a_minute_is_refused() -> None:
    alarm = RefusalAlarm()
    alarm.note(100, {}, NOW)
    alarm.note(899, {Reason.UNDECODABLE: 899}, NOW + SECOND)
    assert not alarm.is_raised(NOW + SECOND), "too few to tell"
    alarm.note(1, {Reason.WRONG_TYPE: 1}, NOW + 2 * SECOND)
    assert alarm.is_raised(NOW + 2 * SECOND)
    expected = "900 of 1,000 messages refused in a minute: undecodable 899, wrong_type 1"
    assert alarm.summary() == expected


def test_the_alarm_forgets_what_was_before_the_clock_was_set_back() -> None:
    alarm = RefusalAlarm()
    alarm.note(1000, {Reason.UNDECODABLE: 1000}, NOW)
    assert alarm.is_raised(NOW)
    alarm.note(10, {}, NOW - 3600 * SECOND)
    assert not alarm.is_raised(NOW - 3600 * SECOND)


def test_the_alarm_is_over_when_more_is_accepted_or_nothing_comes() -> None:
    alarm = RefusalAlarm()
    alarm.note(1000, {Reason.UNDECODABLE: 1000}, NOW)
    assert alarm.is_raised(NOW)
    alarm.note(200, {}, NOW + SECOND)
    assert alarm.is_raised(NOW + SECOND), "83 % are not over yet"
    alarm.note(100, {}, NOW + 2 * SECOND)
    assert not alarm.is_raised(NOW + 2 * SECOND)
    alarm.note(5000, {Reason.UNDECODABLE: 5000}, NOW + 3 * SECOND)
    assert alarm.is_raised(NOW + 3 * SECOND)
    assert not alarm.is_raised(NOW + 64 * SECOND), "a minute later nothing is known"


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 900), st.integers(0, 900)), max_size=60))
def test_the_alarm_sees_the_last_minute_and_no_more(steps: list[tuple[int, int, int]]) -> None:
    alarm, now, seen = RefusalAlarm(), NOW, list[tuple[int, int, int]]()
    for seconds, good, refused in steps:
        now += seconds * SECOND
        alarm.note(good + refused, {Reason.UNDECODABLE: refused}, now)
        seen.append((now, good + refused, refused))
        alarm.is_raised(now)
        recent = [one for one in seen if one[0] > now - MINUTE]
        assert alarm._messages == sum(messages for _, messages, _ in recent)
        assert alarm._refused.total() == sum(count for _, _, count in recent)
