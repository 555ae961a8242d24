"""The core of the search, on arrays: what is learned of a history, and what is then found."""

from __future__ import annotations

import dataclasses
import zoneinfo
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from alerts.anomalies import Detector
from alerts.anomaly_findings import Anomaly, Names, found
from alerts.anomaly_sentences import sentence_of, title_of
from alerts.baseline import HOURS, Baseline, History, from_scale, hour_of_week, to_scale
from alerts.history import rises
from alerts.learning import learn, seasonal
from alerts.memory import BUCKET, Bucket, Layout
from alerts.neighbours import group_medians, median_of_others, middle, others_of
from alerts.speech import Speech
from sensors.catalogue import Catalogue
from sensors.kinds import Metric
from sensors.times import DAY, SECOND, parse_timestamp

ZONE = zoneinfo.ZoneInfo("Asia/Almaty")
MONDAY = parse_timestamp("2026-06-01T00:00:00+05:00")
HOUR = 3600 * SECOND
DISTRICTS = ("gate", "golden")
DEVICES = 10  # of which each second is in the same district
LEVEL = Metric("pm2_5", "PM2.5", "ug/m3", 0, 2000, 0.1)
Change = Callable[[np.ndarray, int], np.ndarray]
FLOATS = st.floats(-1000, 1000, width=32)


def truth(time: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return values (devices, times): a day, weather that all share, and what each has of its own."""
    random = np.random.default_rng(seed)
    day = 1 + 0.5 * np.sin(2 * np.pi * time / DAY)
    weather = np.exp(0.3 * np.sin(2 * np.pi * time / (2.3 * DAY)))
    own = np.exp(random.normal(0, 0.05, (DEVICES, len(time))))
    return 30 * (1 + np.arange(DEVICES)[:, None] / 10) * day * weather * own


def detector(metric: Metric = LEVEL) -> Detector:
    """Return one that has learned five weeks before Monday, with ten devices in two districts."""
    time = MONDAY - 35 * DAY + np.arange(35 * 24) * HOUR
    mean = truth(time).astype(np.float32)
    small = np.full_like(mean, 2)
    district = np.arange(DEVICES) % 2
    baseline = learn(
        History(mean, small, small, np.zeros_like(mean, bool)), hour_of_week(time, ZONE), district, metric
    )
    layout = Layout(
        device=np.arange(DEVICES),
        group=district,
        city=np.zeros(DEVICES, np.int64),
        city_of_group=np.zeros(2, np.int64),
        first_of_group=np.array([0, 1]),
        first_of_city=np.array([0]),
        others=others_of(np.zeros(2, np.int64)),
        minimum=np.full(DEVICES, metric.minimum, np.float32),
        maximum=np.full(DEVICES, metric.maximum, np.float32),
        is_counter=np.zeros(DEVICES, bool),
        interval=np.full(DEVICES, 60 * SECOND),
    )
    return Detector(layout, baseline, ZONE)


def names(catalogue: Catalogue) -> Names:
    kind = catalogue.kind_of["air_quality"]
    return Names(
        tuple(f"air-{n}" for n in range(DEVICES)),
        (kind,) * DEVICES,
        tuple(DISTRICTS[n % 2] for n in range(DEVICES)),
        (LEVEL,) * DEVICES,
    )


def watch(catalogue: Catalogue, change: Change, hours: int = 12, quiet: int = 8) -> list[list[Anomaly]]:
    """Return what is found after each bucket; ``change`` has the buckets after some quiet hours.

    It is given the five values (devices, readings) of a bucket, and which bucket it is.
    """
    looking, said = detector(), []
    for number in range((quiet + hours) * 12):
        start = MONDAY + number * BUCKET
        time = start + np.arange(5) * 60 * SECOND
        values = truth(time, seed=number + 1)
        values = change(values, number - quiet * 12) if number >= quiet * 12 else values
        there = ~np.isnan(values[:, 0])
        looking.step(
            Bucket(
                start,
                np.where(there, 5, 0),
                values.mean(axis=1).astype(np.float32),
                values.min(axis=1).astype(np.float32),
                values.max(axis=1).astype(np.float32),
                (values.var(axis=1) * 5).astype(np.float32),
                values[:, -1],
                np.full(DEVICES, time[-1]),
            )
        )
        said.append(found(looking, names(catalogue)))
    return said[quiet * 12 :]


def changed(device: int, by: Callable[[np.ndarray, int], np.ndarray]) -> Change:
    """Return a change of one device."""

    def change(values: np.ndarray, number: int) -> np.ndarray:
        values[device] = by(values[device], number)
        return values

    return change


def only(findings: list[Anomaly]) -> Anomaly:
    """Return the one thing that is found."""
    (anomaly,) = findings
    return anomaly


def test_nothing_is_found_while_all_is_as_ever(catalogue: Catalogue) -> None:
    assert not any(watch(catalogue, lambda values, _: values, hours=48))


def test_weather_that_all_share_is_no_fault_of_any_device(catalogue: Catalogue) -> None:
    said = watch(catalogue, lambda values, number: values * (1 + min(number / 288, 1)), hours=30)
    assert not [anomaly for findings in said for anomaly in findings if anomaly.device]


def test_one_sensor_that_departs_is_its_own_fault(catalogue: Catalogue) -> None:
    said = watch(catalogue, changed(3, lambda values, _: values * 3))
    anomaly = only(said[-1])
    assert (anomaly.pattern, anomaly.device, anomaly.district) == ("departure", "air-3", "golden")
    assert (anomaly.neighbours, anomaly.unusual) == (4, 0)
    assert anomaly.low is not None
    assert anomaly.high is not None
    assert anomaly.value is not None
    assert anomaly.low < truth(np.array([MONDAY + 20 * HOUR]))[3, 0] < anomaly.high < anomaly.value
    first = next(number for number, findings in enumerate(said) if findings)
    assert first < 12  # within an hour


def test_a_district_that_departs_is_one_event_and_not_a_fault_of_each(catalogue: Catalogue) -> None:
    def change(values: np.ndarray, _: int) -> np.ndarray:
        values[::2] *= 3
        return values

    said = watch(catalogue, change)
    # With two districts, each is what the other is held against.
    assert {(a.pattern, a.device) for findings in said for a in findings} == {("event", None)}
    assert all(a.neighbours == a.unusual == 5 for a in said[-1] if a.district == "gate")


def test_a_frozen_value_is_found_though_it_is_usual(catalogue: Catalogue) -> None:
    said = watch(catalogue, changed(3, lambda values, _: np.full_like(values, 45.0)), hours=2)
    patterns = [a.pattern for findings in said for a in findings if a.device == "air-3"]
    assert "stuck" in patterns
    stuck = next(a for findings in said for a in findings if a.pattern == "stuck")
    assert stuck.value == 45
    assert abs(stuck.since - (MONDAY + 8 * HOUR)) <= 2 * BUCKET


def test_a_slow_departure_is_found_before_it_is_large(catalogue: Catalogue) -> None:
    said = watch(catalogue, changed(3, lambda values, number: values * (1 + 0.4 * number / 576)), hours=48)
    first = next(number for number, findings in enumerate(said) if findings)
    assert only(said[first]).pattern == "drift"
    assert 0.4 * first / 576 < 0.3


def test_one_reading_that_leaps_is_a_spike_and_a_new_level_is_none(catalogue: Catalogue) -> None:
    def spike(values: np.ndarray, number: int) -> np.ndarray:
        return np.where((np.arange(5) == 2) & (number == 5), 900.0, values)

    anomaly = only(watch(catalogue, changed(3, spike), hours=1)[6])
    assert (anomaly.pattern, anomaly.device, anomaly.value) == ("spike", "air-3", 900)
    said = watch(catalogue, changed(3, lambda values, _: values + 900), hours=2)
    assert not [a for findings in said for a in findings if a.pattern == "spike"]


def test_silence_is_of_a_device_or_of_all_that_fell_silent_together(catalogue: Catalogue) -> None:
    gone = watch(catalogue, changed(3, lambda values, _: values * np.nan), hours=1)
    anomaly = only(gone[-1])
    assert (anomaly.pattern, anomaly.device) == ("silence", "air-3")
    assert anomaly.since == MONDAY + 8 * HOUR - 60 * SECOND

    def dark(values: np.ndarray, _: int) -> np.ndarray:
        values[1::2] = np.nan
        return values

    of_district = only(watch(catalogue, dark, hours=1)[-1])
    assert (of_district.pattern, of_district.district, of_district.device) == ("silence", "golden", None)
    assert (of_district.unusual, of_district.neighbours) == (5, 5)


def test_a_device_that_missed_weeks_is_held_against_its_own_season(catalogue: Catalogue) -> None:
    time = MONDAY - 35 * DAY + np.arange(35 * 24) * HOUR
    mean = truth(time).astype(np.float32)
    whole = History(mean, mean * 0, mean * 0, np.zeros_like(mean, bool))
    some = dataclasses.replace(whole, mean=mean.copy())
    some.mean[3, : 21 * 24] = np.nan
    slots, district = hour_of_week(time, ZONE), np.arange(DEVICES) % 2
    all_weeks, few_weeks = (learn(history, slots, district, LEVEL) for history in (whole, some))
    difference = from_scale(few_weeks.centre, few_weeks.knee) / from_scale(all_weeks.centre, all_weeks.knee)
    assert np.abs(difference[:, 3] - 1).max() < 0.15


def test_a_device_of_a_few_hours_is_not_judged() -> None:
    time = MONDAY + np.arange(35 * 24) * HOUR
    mean = truth(time).astype(np.float32)
    mean[3, 40:] = np.nan
    history = History(mean, mean * 0, mean * 0, np.zeros_like(mean, bool))
    baseline = learn(history, hour_of_week(time, ZONE), np.arange(DEVICES) % 2, LEVEL)
    assert np.isinf(baseline.apart[:, 3]).all()
    assert np.isfinite(baseline.apart[:, 4]).all()


def test_the_hour_of_the_week_is_the_city_s() -> None:
    times = np.array([MONDAY, MONDAY + 25 * HOUR, MONDAY - 1])
    assert hour_of_week(times, ZONE).tolist() == [0, 25, 167]


def test_one_wrong_week_of_five_does_not_move_the_season() -> None:
    slots = np.tile(np.arange(HOURS), 5)
    y = np.tile(np.sin(slots[None, :] / 10), (2, 1)).astype(np.float32)
    wrong = y.copy()
    wrong[0, :HOURS] += 100
    assert seasonal(wrong, slots) == pytest.approx(seasonal(y, slots), abs=0.75)


def test_a_counter_is_judged_by_its_rise_and_says_nothing_when_it_was_set_back() -> None:
    last = np.array([[10.0, 12.0, 12.0, 3.0, np.nan, 9.0, 10.5]])
    last_at = np.array([[0, 1, 2, 3, np.nan, 5, 6]]) * HOUR
    assert rises(last, last_at)[0] == pytest.approx([np.nan, 2, 0, np.nan, np.nan, np.nan, 1.5], nan_ok=True)


@given(arrays.arrays(np.float32, (4, 7), elements=FLOATS | st.just(float("nan"))))
def test_the_median_is_of_what_is_there(values: np.ndarray) -> None:
    expected = [np.median(row[~np.isnan(row)]) if (~np.isnan(row)).any() else np.nan for row in values]
    assert middle(values) == pytest.approx(expected, nan_ok=True, rel=1e-5)


@given(st.data())
def test_medians_of_groups_are_those_of_each_alone(data: st.DataObject) -> None:
    values = data.draw(arrays.arrays(np.float32, 12, elements=FLOATS | st.just(float("nan"))))
    group = data.draw(arrays.arrays(np.int64, 12, elements=st.integers(0, 3)))
    medians, count = group_medians(values, group, 4)
    for number in range(4):
        own = values[(group == number) & ~np.isnan(values)]
        assert count[number] == len(own)
        expected = np.median(own) if len(own) >= 3 else np.nan
        assert medians[number] == pytest.approx(expected, nan_ok=True, rel=1e-5)


@given(arrays.arrays(np.float32, 9, elements=FLOATS), st.sampled_from([0.0, 0.5, 20.0]))
def test_a_scale_goes_back_to_the_values_it_came_from(values: np.ndarray, knee: float) -> None:
    knees = np.full(9, knee, np.float32)
    assert from_scale(to_scale(values, knees), knees) == pytest.approx(values, rel=1e-3, abs=1e-3)


def test_a_district_is_held_against_the_others_of_its_kind_and_metric_alone() -> None:
    others = others_of(np.array([0, 0, 0, 1]))
    medians = median_of_others(np.array([1, 5, 9, 100], np.float32), others)
    assert medians == pytest.approx([7, 5, 3, np.nan], nan_ok=True)


def test_nothing_is_judged_of_which_nothing_is_known() -> None:
    unknown = Baseline.joined([Baseline.unknown(3, 1), Baseline.unknown(2, 2)])
    assert unknown.centre.shape == (HOURS, 5)
    assert unknown.group_bound.shape == (24, 3)
    assert np.isinf(unknown.apart).all()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"pattern": "departure", "value": 163.2, "low": 3.0, "high": 41.0},
            "PM2.5 of air-1 is 163.2 µg/m³ since 08:00. Usual is 3.0 to 41.0 µg/m³. "
            "None of 4 other devices (Air quality station) shows the like, so it is likely the sensor's own fault. "
            "It was so 2 times in the 30 days before.",
        ),
        (
            {"pattern": "event", "device": None, "value": 163.2, "low": 3.0, "high": 41.0, "unusual": 4},
            "The median of PM2.5 in Gate District is 163.2 µg/m³ since 08:00. Usual is 3.0 to 41.0 µg/m³. "
            "4 of 4 devices (Air quality station) show it, so it is no fault of one sensor. "
            "It was so 2 times in the 30 days before.",
        ),
    ],
)
def test_a_sentence_says_value_band_since_when_neighbours_and_how_often(
    catalogue: Catalogue, changes: dict[str, object], expected: str
) -> None:
    anomaly = Anomaly("", MONDAY + 8 * HOUR, "air_quality", "gate", "air-1", LEVEL, neighbours=4)
    anomaly = dataclasses.replace(anomaly, **changes)  # type: ignore[arg-type]
    english = Speech(MONDAY + 9 * HOUR, ZONE, catalogue)
    assert english.say(*sentence_of(anomaly, MONDAY + 9 * HOUR, 2)) == expected
    assert english.say(title_of(anomaly)).endswith("air-1" if anomaly.device else "Gate District")
