"""Who is limited, and who never is: whatever the rate, the order and the boundaries of cuts."""

from __future__ import annotations

import mqtt5
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.arrivals import Arrivals
from ingest.intake import Cut
from ingest.limits import Intervals, RateLimits, RatePolicy
from ingest.routes import Routes
from sensors.catalogue import Catalogue, build_catalogue, builtin_file
from sensors.checks import Reason, TimeWindow
from sensors.readings import ReadingBatch
from sensors.times import SECOND
from sensors.topics import Topics

NOW = 1_767_225_600 * SECOND
KIND = build_catalogue(builtin_file("alatau"), "alatau.toml").kind_of["noise"]
SMALL = RatePolicy(burst=50, catch_up=0)
MINUTE = 60 * SECOND


def limits(policy: RatePolicy = SMALL, devices: int = 3) -> RateLimits:
    intervals = Intervals()
    for number in range(1, devices + 1):
        intervals.set(number, 60.0)
    return RateLimits(intervals, policy)


def batch(devices: list[int], times: list[int]) -> ReadingBatch:
    values = np.ones((len(times), len(KIND.columns)))
    time = np.array(times, dtype=np.int64)
    return ReadingBatch(KIND, np.array(devices, dtype=np.int32), time, time, values)


def refused(buckets: RateLimits, devices: list[int], times: list[int], now: int) -> list[int]:
    """Return the rows that are too many."""
    excess = buckets.charge(batch(devices, times), now)
    return [] if excess is None else sorted(excess.rows.tolist())


@given(
    order=st.permutations(range(120)),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    jitter=st.lists(st.integers(-20, 20), min_size=120, max_size=120),
)
def test_a_backlog_at_the_expected_rate_is_never_limited(
    order: list[int], sizes: list[int], jitter: list[int]
) -> None:
    """Not even with no burst at all, in any order, cut anywhere, within one second."""
    buckets = limits(RatePolicy(burst=0, catch_up=0))
    times = [NOW + n * MINUTE + jitter[n] * SECOND for n in order]
    position = cut = 0
    while position < len(times):
        part = times[position : position + sizes[cut % len(sizes)]]
        assert refused(buckets, [1] * len(part), part, NOW + cut) == []
        position, cut = position + len(part), cut + 1


@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=30), factor=st.integers(100, 10_000))
def test_a_hundred_times_the_rate_is_limited_after_the_burst_and_neighbours_are_not(
    sizes: list[int], factor: int
) -> None:
    buckets, sent, taken = limits(), 0, 0
    step = MINUTE // factor
    for cut in range(40):
        size = sizes[cut % len(sizes)]
        times = [NOW + (sent + n) * step for n in range(size)]
        sent += size
        now = times[-1]
        neighbour = NOW + cut * MINUTE
        excess = refused(buckets, [1] * size + [2], [*times, neighbour], now)
        assert size not in excess, "the neighbour's"
        taken += size - len(excess)
    intervals = sent / factor
    # The first reading is free; a bucket refills ten times an interval, and once more over each pause.
    assert taken <= 1 + SMALL.burst + 11 * intervals + 1
    assert taken >= min(sent, SMALL.burst)
    assert buckets.limited_devices(now) == (taken < sent)
    assert buckets.limited_devices(now + 2 * MINUTE) == 0


def test_a_limited_device_that_comes_to_its_senses_is_taken_again() -> None:
    buckets = limits()
    times = [NOW + n for n in range(1000)]
    assert len(refused(buckets, [1] * 1000, times, NOW)) == 1000 - 1 - 50
    later = [NOW + n * MINUTE for n in range(1, 100)]
    for time in later:
        assert refused(buckets, [1], [time], time) == []


def test_each_metric_of_a_moment_may_come_apart() -> None:
    buckets, metrics = limits(RatePolicy(burst=10, catch_up=0)), len(KIND.columns)
    for minute in range(500):
        time = NOW + minute * MINUTE
        assert refused(buckets, [1] * metrics, [time] * metrics, time) == [], "with a time of their own"
        arrived = [time + n for n in range(metrics)]
        assert refused(buckets, [2] * metrics, arrived, time) == [], "with that of their arrival"


def test_a_stuck_clock_is_limited_too() -> None:
    buckets = limits()
    taken = 0
    for minute in range(10):
        taken += 5000 - len(refused(buckets, [1] * 5000, [NOW] * 5000, NOW + minute * MINUTE))
    assert taken < 10 * 5000 / 10


def test_what_came_by_arrival_while_we_were_away_is_not_limited() -> None:
    """Readings without a time of their own have that of their arrival: all at once, after a day's outage."""
    buckets = limits(RatePolicy(burst=10))
    day = list(range(NOW, NOW + 1440))
    assert refused(buckets, [1] * 1440, day, NOW) == [], "at the start"
    spent = len(refused(buckets, [1] * 100_000, list(range(NOW, NOW + 100_000)), NOW + SECOND))
    assert spent > 80_000, "the credit is no free pass"
    tomorrow = NOW + 1440 * MINUTE
    again = [tomorrow + n for n in range(1440)]
    assert refused(buckets, [1] * 1440, again, tomorrow) == [], "after the outage"


def test_redelivered_readings_are_not_charged() -> None:
    buckets = limits(RatePolicy(burst=0, catch_up=0))
    times = [NOW + n for n in range(100)]
    redelivered = np.ones(100, dtype=bool)
    assert buckets.charge(batch([1] * 100, times), NOW, redelivered) is None
    assert buckets.charge(batch([1] * 100, times), NOW) is not None


@pytest.mark.parametrize("number", [1, 70_000, 200_000])
def test_a_device_of_any_number_has_a_bucket_of_its_own(number: int) -> None:
    buckets = limits()
    buckets._intervals.set(number, 60.0)
    neighbour = number + 65_536  # the same in its lower bits
    buckets._intervals.set(neighbour, 60.0)
    devices = [number, neighbour] * 60
    times = [NOW + n // 2 * (MINUTE if n % 2 else 1) for n in range(120)]
    excess = refused(buckets, devices, times, NOW)
    assert len(excess) == 60 - 1 - 50
    assert {devices[row] for row in excess} == {number}


@pytest.fixture
def routes(catalogue: Catalogue) -> Routes:
    routes = Routes(Topics())
    routes.set_catalogue(catalogue)
    routes.add([(1, "a", "noise", 60.0), (2, "b", "noise", 60.0)])
    return routes


def runaway(routes: Routes, buckets: RateLimits, count: int) -> Cut:
    """A cut of one device that sends as fast as it can, and one reading of its neighbour."""
    cut = Cut(routes, Arrivals(), buckets)
    bodies = [("a", b'{"ts": %d, "laeq": 1}' % (NOW // 1000 + n)) for n in range(count)]
    for number, (device, body) in enumerate([*bodies, ("b", b'{"laeq": 1}')], 1):
        topic = f"alatau/v1/{device}/telemetry"
        packet = mqtt5.PublishPacket(topic, body, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=number)
        cut.feed([packet], NOW)
    return cut


def test_a_reading_too_many_becomes_a_letter_that_says_how_many_are_expected(routes: Routes) -> None:
    cut = runaway(routes, RateLimits(routes.intervals, SMALL), 100)
    (kept,) = cut.check(NOW, TimeWindow())
    assert np.bincount(kept.device).tolist() == [0, 51, 1]
    letters = cut.letters()
    assert {letter.reason for letter in letters} == {Reason.RATE_EXCEEDED}
    assert len(letters) == cut.limited == 49
    assert "0.001 s after the one before it" in letters[0].detail
    assert "one in 60 s is expected" in letters[0].detail


def test_what_is_decided_of_a_cut_stays_so_in_its_halves(routes: Routes) -> None:
    buckets = RateLimits(routes.intervals, SMALL)
    cut = runaway(routes, buckets, 100)
    cut.check(NOW, TimeWindow())
    once = [letter.payload for letter in cut.letters()]
    for _ in range(2):
        halves = cut.halves()
        kept = [len(batch) for half in halves for batch in half.check(NOW, TimeWindow())]
        assert sum(kept) == 52
        assert [letter.payload for half in halves for letter in half.letters()] == once


def test_routes_take_over_a_changed_interval(routes: Routes, catalogue: Catalogue) -> None:
    routes.add([(1, "a", "noise", 0.001)])
    assert routes.intervals.expected[1] == 1000
    routes.set_catalogue(catalogue)
    assert routes.intervals.expected[1:3].tolist() == [1000, 60 * SECOND]
    cut = runaway(routes, RateLimits(routes.intervals, SMALL), 1000)
    cut.check(NOW, TimeWindow())
    assert cut.letters() == []
