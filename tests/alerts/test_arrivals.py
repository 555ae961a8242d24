"""Changes in what arrives, on arrays: what is usual, what is found of it, and what is not."""

from __future__ import annotations

import dataclasses
import zoneinfo
from collections.abc import Callable

import numpy as np
import pytest

from alerts.anomaly_findings import Names
from alerts.arrivals import Arrivals, Usual, learn_usual
from alerts.memory import BUCKET
from alerts.quality_changes import Change, changes, excused
from alerts.quality_sentences import sentence_of, title_of
from alerts.speech import Speech
from sensors.catalogue import Catalogue
from sensors.times import DAY, SECOND, parse_timestamp

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
MONDAY = parse_timestamp("2026-06-01T00:00:00+05:00")
DEVICES = 10  # of which each second is in the same district
DISTRICTS = ("gate", "golden")
Lose = Callable[[np.ndarray, int], np.ndarray]


def names(catalogue: Catalogue, devices: int = DEVICES) -> Names:
    return Names(
        tuple(f"air-{n}" for n in range(devices)),
        (catalogue.kind_of["air_quality"],) * devices,
        tuple(DISTRICTS[n % 2] for n in range(devices)),
        (),
    )


def arrivals(devices: int = DEVICES, interval: int = MINUTE, lost: float = 0.01) -> Arrivals:
    """Return charts of devices that usually lose one reading in a hundred."""
    interval_of = np.full(devices, interval)
    count = np.random.default_rng(0).binomial(HOUR // interval, 1 - lost, (devices, 35 * 24))
    return Arrivals(interval_of, learn_usual(count, interval_of))


def came(charts: Arrivals, buckets: int, lose: Lose, first: int = 0) -> None:
    """Take buckets; ``lose`` is given the share of readings that gets lost of each device (d,), and which bucket it is.

    Nobody sends in between: a device of an interval of half an hour has a reading in each sixth bucket.
    """
    random = np.random.default_rng(first + 1)
    each = BUCKET / charts.interval
    for number in range(first, first + buckets):
        sent = np.floor((number + 1) * each + 1e-9) - np.floor(number * each + 1e-9)
        share = lose(np.full(len(each), 0.01), number)
        count = random.binomial(sent.astype(int), 1 - share)
        charts.step(MONDAY + number * BUCKET, count, np.zeros_like(count))


def of_device(device: int, share: float, start: int, stop: int = 10**9) -> Lose:
    """Return that one loses a share of its readings in some buckets."""

    def lose(shares: np.ndarray, number: int) -> np.ndarray:
        shares[device] = share if start <= number < stop else shares[device]
        return shares

    return lose


def said(charts: Arrivals, catalogue: Catalogue) -> list[Change]:
    return changes(charts, names(catalogue, len(charts.interval)), np.zeros(len(charts.interval), bool))


def only(found: list[Change]) -> Change:
    (change,) = found
    return change


@pytest.mark.parametrize(("share", "buckets"), [(0.4, 12), (0.2, 36)])
def test_a_device_that_loses_a_part_of_its_readings_is_found_with_since_when_and_how_many(
    catalogue: Catalogue, share: float, buckets: int
) -> None:
    charts = arrivals()
    came(charts, 24, of_device(3, share, 24))
    assert not said(charts, catalogue)
    came(charts, buckets, of_device(3, share, 24), first=24)
    change = only(said(charts, catalogue))
    assert (change.pattern, change.device, change.district) == ("completeness", "air-3", "golden")
    assert change.share == pytest.approx(1 - share, abs=0.12)
    assert change.usual == pytest.approx(0.99, abs=0.01)
    assert abs(change.since - (MONDAY + 24 * BUCKET)) <= 4 * BUCKET
    assert (change.neighbours, change.unusual) == (4, 0)
    assert change.received / change.expected == pytest.approx(change.share, abs=0.01)


def test_it_is_over_when_the_readings_come_again(catalogue: Catalogue) -> None:
    charts = arrivals()
    came(charts, 60, of_device(3, 0.4, 24))
    assert only(said(charts, catalogue)).device == "air-3"
    came(charts, 12, of_device(3, 0.4, 24, 60), first=60)
    assert not said(charts, catalogue)


@pytest.mark.parametrize(("interval", "share", "hours"), [(30 * MINUTE, 0.5, 24), (15 * MINUTE, 0.7, 12)])
def test_a_device_that_sends_seldom_is_found_as_well_only_later(
    catalogue: Catalogue, interval: int, share: float, hours: int
) -> None:
    charts = arrivals(interval=interval)
    came(charts, 12 * hours, of_device(3, share, 0))
    change = only(said(charts, catalogue))
    assert change.device == "air-3"
    assert change.share == pytest.approx(1 - share, abs=0.15)


def test_a_month_of_what_is_usual_raises_nothing() -> None:
    charts = arrivals(devices=300)
    raised = np.zeros(300, bool)
    for day in range(30):
        came(charts, 288, lambda shares, _: shares, first=288 * day)
        raised |= charts.losses.is_on
    assert not raised.any()


@pytest.mark.parametrize("buckets", [4, 40, 400])
def test_silence_and_the_buckets_beside_it_are_no_loss(catalogue: Catalogue, buckets: int) -> None:
    charts = arrivals()
    came(charts, 24, lambda shares, _: shares)
    came(charts, 1, of_device(3, 0.8, 0), first=24)
    came(charts, buckets, of_device(3, 1.0, 0), first=25)
    came(charts, 1, of_device(3, 0.8, 0), first=25 + buckets)
    came(charts, 24, lambda shares, _: shares, first=26 + buckets)
    assert charts.losses.sum[3] < 3


def test_a_burst_of_ten_minutes_is_no_change(catalogue: Catalogue) -> None:
    charts = arrivals()
    came(charts, 48, of_device(3, 0.95, 24, 26))
    assert not said(charts, catalogue)


def test_who_has_always_lost_as_much_is_as_usual(catalogue: Catalogue) -> None:
    charts = arrivals(lost=0.4)
    came(charts, 288, lambda shares, _: shares + 0.39)
    assert not said(charts, catalogue)


def test_a_bad_week_in_the_history_is_not_usual_and_nights_that_are_always_bad_are() -> None:
    count = np.full((2, 35 * 24), 60)
    count[0, -7 * 24 :] = 30
    count[1].reshape(35, 24)[:, :6] = 30
    count[1].reshape(35, 24)[:, 12:18] = 45
    usual = learn_usual(count, np.full(2, MINUTE))
    assert usual.lost[0] == pytest.approx(0.02)
    assert usual.lost[1] >= 0.5
    assert usual.share[0] == pytest.approx(1)


def test_a_device_of_a_day_is_not_judged() -> None:
    count = np.zeros((1, 35 * 24), int)
    count[0, -24:] = 60
    assert np.isnan(learn_usual(count, np.full(1, MINUTE)).lost).all()


def test_refused_messages_are_found_and_are_not_said_to_be_missing_or_silent(catalogue: Catalogue) -> None:
    charts = arrivals()
    came(charts, 24, lambda shares, _: shares)
    for number in range(24, 30):
        refused = np.where(np.arange(DEVICES) == 3, 5, 0)
        charts.step(MONDAY + number * BUCKET, 5 - refused, refused)
    change = only(said(charts, catalogue))
    assert (change.pattern, change.device, change.refused) == ("refused", "air-3", 30)
    assert change.since == MONDAY + 24 * BUCKET
    assert excused(charts, np.full(DEVICES, HOUR)).tolist() == [n == 3 for n in range(DEVICES)]


def test_who_has_always_been_refused_as_much_is_as_usual(catalogue: Catalogue) -> None:
    charts = arrivals()
    refused = np.zeros((DEVICES, 140), int)
    refused[3] = 360
    charts.learn_refused(refused)
    for number in range(48):
        charts.step(MONDAY + number * BUCKET, np.full(DEVICES, 5), np.where(np.arange(DEVICES) == 3, 5, 0))
    assert not said(charts, catalogue)
    assert charts.refused[3] == pytest.approx(0.5, abs=0.01)


def test_a_lossy_device_is_silent_only_after_a_time_that_loss_does_not_explain() -> None:
    charts = arrivals(interval=15 * MINUTE)
    came(charts, 288, of_device(3, 0.6, 0))
    assert charts.losses.is_on[3]
    assert excused(charts, np.full(DEVICES, 1 * HOUR))[3]
    assert not excused(charts, np.full(DEVICES, 6 * HOUR))[3]


def test_what_changes_in_most_devices_of_a_district_is_one_thing(catalogue: Catalogue) -> None:
    charts = arrivals()

    def lose(shares: np.ndarray, number: int) -> np.ndarray:
        shares[1::2] = 0.4 if number >= 24 else shares[1::2]
        return shares

    came(charts, 48, lose)
    change = only(said(charts, catalogue))
    assert (change.device, change.district, change.kind) == (None, "golden", "air_quality")
    assert (change.unusual, change.neighbours) == (5, 5)


def test_what_is_known_of_a_device_is_kept_when_others_come_and_go(catalogue: Catalogue) -> None:
    before = arrivals()
    came(before, 60, of_device(3, 0.4, 24))
    places = np.array([0, 3, -1])
    after = Arrivals(np.full(3, MINUTE), before.usual.carried(places))
    after.carry(before, places)
    assert after.losses.is_on.tolist() == [False, True, False]
    assert after.shares(1) == before.shares(3)
    assert np.isnan(after.usual.lost[2])
    came(after, 2, lambda shares, _: shares, first=60)
    assert after.losses.is_on.tolist() == [False, True, False]


def test_nothing_is_said_of_a_device_of_which_nothing_is_known(catalogue: Catalogue) -> None:
    charts = Arrivals(np.full(DEVICES, MINUTE), Usual.unknown(DEVICES))
    came(charts, 60, of_device(3, 0.9, 0))
    assert not said(charts, catalogue)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {},
            "aq-017 delivers 62 % of its expected readings since 14:10, 99 % in the weeks before. "
            "1 of 12 other devices (Air quality station) is unusual as well. It was so 1 time in the 30 days before.",
        ),
        (
            {"pattern": "refused", "share": 0.38, "usual": 0.0, "unusual": 0, "reasons": {"undecodable": 30}},
            "Of what aq-017 sends 38 % is refused since 14:10, 0 % in the weeks before. Mostly: Can't be read. "
            "None of 12 other devices (Air quality station) shows the like, so it is likely the sensor's own fault. "
            "It was so 1 time in the 30 days before.",
        ),
        (
            {"device": None, "unusual": 9},
            "9 of 12 devices (Air quality station) of Gate District deliver 62 % of their expected readings since "
            "14:10, 99 % in the weeks before. One cause is likely: the network, or the way to the broker. "
            "It was so 1 time in the 30 days before.",
        ),
    ],
)
def test_a_sentence_says_how_much_since_when_how_much_before_and_who_else(
    catalogue: Catalogue, changed: dict[str, object], expected: str
) -> None:
    change = Change(
        "completeness", MONDAY + 14 * HOUR + 10 * MINUTE, 0.62, 0.99, "air_quality", "gate", "aq-017", 12, 1
    )
    change = dataclasses.replace(change, **changed)  # type: ignore[arg-type]
    english = Speech(MONDAY + DAY - 1, zoneinfo.ZoneInfo("Asia/Almaty"), catalogue)
    assert english.say(*sentence_of(change, 1)) == expected
    assert english.say(title_of(change)).endswith(": aq-017" if change.device else ": Gate District")
