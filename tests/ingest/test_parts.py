"""The worker's small machines, without clock, event loop or servers."""

from __future__ import annotations

import json

import mqtt5
import numpy as np
import pytest

from ingest.arrivals import SLOTS, Arrivals
from ingest.decode import Fault
from ingest.feedback import Feedback, FeedbackPolicy
from ingest.intake import Cut
from ingest.routes import Routes
from ingest.session import SessionOptions
from sensors.catalogue import Catalogue
from sensors.checks import Reason, TimeWindow
from sensors.times import SECOND
from sensors.topics import Topics

NOW = 1_767_225_600 * SECOND


def packet(
    payload: bytes, device: str = "a", packet_id: int | None = 1, *, duplicate: bool = False
) -> mqtt5.PublishPacket:
    qos = mqtt5.QoS.AT_MOST_ONCE if packet_id is None else mqtt5.QoS.AT_LEAST_ONCE
    topic = f"alatau/v1/{device}/telemetry"
    return mqtt5.PublishPacket(topic, payload, qos=qos, packet_id=packet_id, duplicate=duplicate)


@pytest.fixture
def routes(catalogue: Catalogue) -> Routes:
    routes = Routes(Topics())
    routes.set_catalogue(catalogue)
    routes.add([(1, "a", "noise", 60.0), (2, "b", "noise", 60.0), (3, "c", "weather", 60.0)])
    return routes


def test_a_cut_acknowledges_every_message_in_order_whatever_became_of_it(routes: Routes) -> None:
    cut = Cut(routes, Arrivals())
    cut.feed([packet(b'{"laeq": 1}', packet_id=7), packet(b"bad", packet_id=3)], NOW)
    cut.feed([packet(b'{"laeq": 1}', packet_id=None), packet(b"{}", device="nobody", packet_id=9)], NOW)
    assert cut.packet_ids() == [7, 3, 9]
    assert cut.messages == 4


def test_messages_of_one_read_never_arrive_at_the_same_time(routes: Routes) -> None:
    cut = Cut(routes, Arrivals())
    cut.feed([packet(b'{"laeq": 1}'), packet(b'{"laeq": 2}'), packet(b'{"laeq": 3}')], NOW)
    (batch,) = cut.check(NOW, TimeWindow())
    assert batch.time.tolist() == [NOW, NOW + 1, NOW + 2]


def test_a_redelivered_packet_that_was_committed_is_only_acknowledged(routes: Routes) -> None:
    before, after = Arrivals(), Arrivals()
    cut = Cut(routes, before)
    cut.feed([packet(b'{"laeq": 1}', packet_id=5)], NOW)
    cut.check(NOW, TimeWindow())
    slot = before.slot()
    assert slot is not None
    after.load([slot])
    again = Cut(routes, after)
    later = NOW + 60 * SECOND
    again.feed([packet(b'{"laeq": 1}', packet_id=5, duplicate=True)], later)
    again.feed([packet(b'{"laeq": 1}', packet_id=6, duplicate=True)], later)
    again.feed([packet(b'{"laeq": 2}', packet_id=5, duplicate=True)], later)
    (batch,) = again.check(later, TimeWindow())
    assert batch.time.tolist() == [later, later], "another id or another payload is another message"
    assert again.packet_ids() == [5, 6, 5]


def test_remembered_arrivals_are_bounded(routes: Routes) -> None:
    arrivals = Arrivals()
    for number in range(3 * SLOTS):
        arrivals.note(packet(b"x", packet_id=number % 65535 + 1), number)
        arrivals.committed()
    assert len(arrivals._times) == SLOTS


def test_remembered_messages_are_no_more_than_can_be_unacknowledged() -> None:
    arrivals = Arrivals()
    for cut in range(20):
        for number in range(1, 10_001):
            arrivals.note(packet(b"%d" % cut, packet_id=number), cut)
        arrivals.committed()
    assert len(arrivals._times) <= 65_535
    assert arrivals.knows(packet(b"19", packet_id=10_000))
    assert not arrivals.knows(packet(b"0", packet_id=10_000))


def test_the_same_message_under_the_same_packet_id_is_known_as_long_as_the_newer_one() -> None:
    arrivals = Arrivals()
    for number in range(SLOTS + 1):
        content = b"again" if number in (0, 100) else b"other"
        arrivals.note(packet(content, packet_id=7), number)
        arrivals.committed()
    assert arrivals.knows(packet(b"again", packet_id=7))


def test_readings_with_a_time_of_their_own_need_no_remembering(routes: Routes) -> None:
    arrivals = Arrivals()
    cut = Cut(routes, arrivals)
    cut.feed([packet(b'{"ts": 1767225600, "laeq": 1}')], NOW)
    cut.check(NOW, TimeWindow())
    assert arrivals.slot() is None


def test_what_is_wrong_leaves_what_is_right(routes: Routes) -> None:
    cut = Cut(routes, Arrivals())
    cut.feed(
        [
            packet(b'{"laeq": 60, "lamax": 900}'),
            packet(b'{"laeq": -1}'),
            packet(b'{"ts": 0, "laeq": 60}'),
            packet(b'{"ts": 2082758400, "laeq": 60}'),
            packet(b'{"ts": "0001-01-01T00:00:00Z", "laeq": 60}'),
            packet(b'{"laeq": 1' + b"0" * 400 + b"}"),
            packet(b'{"laeq": 61}', device="b"),
        ],
        NOW,
    )
    (batch,) = cut.check(NOW, TimeWindow())
    assert batch.device.tolist() == [1, 2]
    np.testing.assert_array_equal(batch.values, [[60, np.nan, np.nan], [61, np.nan, np.nan]])
    reasons = [letter.reason for letter in cut.letters()]
    assert reasons.count(Reason.OUT_OF_RANGE) == 3
    assert reasons.count(Reason.TIME_TOO_OLD) == 2
    assert reasons.count(Reason.TIME_IN_FUTURE) == 1


def test_the_edges_of_range_and_window_are_inside(routes: Routes) -> None:
    window = TimeWindow(past=10 * SECOND, future=5 * SECOND)
    cut = Cut(routes, Arrivals())
    for seconds, value in ((-10, 0), (5, 160)):
        cut.feed([packet(f'{{"ts": {NOW // SECOND + seconds}, "laeq": {value}}}'.encode())], NOW)
    (batch,) = cut.check(NOW, window)
    assert len(batch) == 2
    assert cut.letters() == []


def test_a_device_registered_in_between_is_found_when_routed_again(routes: Routes) -> None:
    cut = Cut(routes, Arrivals())
    cut.feed([packet(b'{"laeq": 1}', device="new"), packet(b'{"laeq": 1}', device="nobody")], NOW)
    routes.add([(9, "new", "noise", 60.0)])
    cut.route_again()
    (batch,) = cut.check(NOW, TimeWindow())
    assert batch.device.tolist() == [9]
    assert [letter.reason for letter in cut.letters()] == [Reason.UNKNOWN_DEVICE]


def test_halves_of_a_cut_are_the_whole(routes: Routes) -> None:
    cut = Cut(routes, Arrivals())
    cut.feed([packet(f'{{"laeq": {n}}}'.encode(), packet_id=n + 1) for n in range(5)], NOW)
    first, second = cut.halves()
    assert first.packet_ids() + second.packet_ids() == cut.packet_ids()
    times = [t for half in (first, second) for batch in half.check(NOW, TimeWindow()) for t in batch.time]
    assert times == [NOW + n for n in range(5)]


def test_a_long_list_of_faults_is_shortened(routes: Routes) -> None:
    cut = Cut(routes, Arrivals())
    cut.feed([packet(json.dumps([{"ts": NOW // SECOND, "x": 1}] * 100).encode())], NOW)
    (letter,) = cut.letters()
    assert letter.detail.endswith("and 95 more")


def test_a_new_catalogue_changes_the_routes_of_known_devices(catalogue: Catalogue) -> None:
    routes = Routes(Topics())
    routes.add([(1, "a", "noise", 60.0)])
    assert routes.lookup("alatau/v1/a/telemetry") is None, "its kind is not known yet"
    routes.set_catalogue(catalogue)
    assert routes.lookup("alatau/v1/a/telemetry") is not None


BAD = Fault(Reason.UNDECODABLE, "x")


def test_a_device_is_told_once_in_ten_seconds_and_then_how_often_it_was_not() -> None:
    feedback = Feedback()
    told = [feedback.refuse("a", BAD, "x", NOW, NOW + n * SECOND) for n in range(12)]
    assert [number for number, message in enumerate(told) if message] == [0, 10]
    assert json.loads(told[10] or b"")["withheld"] == 9
    assert feedback.refuse("b", BAD, "x", NOW, NOW) is not None


def test_a_clock_that_was_set_back_does_not_keep_a_device_from_being_told() -> None:
    feedback = Feedback()
    assert feedback.refuse("a", BAD, "x", NOW, NOW) is not None
    assert feedback.refuse("a", BAD, "x", NOW, NOW - 3600 * SECOND) is not None
    assert feedback.refuse("a", BAD, "x", NOW, NOW - 3599 * SECOND) is None


def test_what_feedback_remembers_is_bounded() -> None:
    feedback = Feedback(FeedbackPolicy(devices=3))
    for number in range(10):
        feedback.refuse(str(number), BAD, "x", NOW, NOW + number)
    assert len(feedback._told) == 3


@pytest.mark.parametrize("receive_maximum", [0, 65_535, 70_000])
def test_a_receive_maximum_that_the_broker_would_replace_by_its_own_is_refused(receive_maximum: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 65534"):
        SessionOptions("localhost", 1883, "u", "p", "c", receive_maximum=receive_maximum)
