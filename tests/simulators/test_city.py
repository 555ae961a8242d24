"""The city's values: plausible, deterministic, and shaped like a city's."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors.catalogue import Catalogue, build_catalogue, builtin_file, parse_city_file
from sensors.checks import out_of_range
from sensors.fleet import plan_fleet
from sensors.kinds import Behaviour, DeviceSpec
from sensors.times import DAY, SECOND, to_microseconds
from simulators.city import City
from simulators.noise import Floats, Ints

ALMATY = zoneinfo.ZoneInfo("Asia/Almaty")
HOUR = 3600 * SECOND
KINDS = [kind.name for kind in builtin_file("kinds").kind]

ADDED = """
[[kind]]
name = "radiation"
title = "Radiation monitor"
interval = "PT1M"
[[kind.metric]]
name = "dose_rate"
title = "Dose rate"
unit = "uSv/h"
minimum = 0
maximum = 100
resolution = 0.25
[[kind.metric]]
name = "pulses"
title = "Pulses"
unit = "{pulse}"
minimum = 0
maximum = 1e9
resolution = 1
behaviour = "counter"
[[kind.metric]]
name = "door"
title = "Door open"
unit = "1"
minimum = 0
maximum = 1
resolution = 1
behaviour = "state"
[[metric]]
kind = "noise"
name = "lceq"
title = "C-weighted level"
unit = "dB"
minimum = 0
maximum = 160
resolution = 0.1
"""


def at(text: str) -> int:
    """Return Unix µs of a local time in Almaty."""
    return to_microseconds(dt.datetime.fromisoformat(text).replace(tzinfo=ALMATY))


def rows_of(city: City, kind: str) -> Ints:
    """Return the places of one kind's devices in the fleet."""
    return np.array([row for row, device in enumerate(city.fleet) if device.kind == kind], dtype=np.int64)


def series(city: City, kind: str, metric: str, rows: Ints, times: Ints) -> Floats:
    """Return values of several devices at the same times, shape (devices, times)."""
    column = city.catalogue.kind_of[kind].index[metric]
    values = city.values(kind, np.repeat(rows, len(times)), np.tile(times, len(rows)))
    return values[:, column].reshape(len(rows), len(times))


@pytest.fixture(scope="module")
def city(catalogue: Catalogue) -> City:
    """Twenty devices of each kind."""
    return City(catalogue, plan_fleet(catalogue, 20 * len(catalogue.kinds)), seed=1)


@pytest.mark.parametrize("kind_name", KINDS)
def test_a_year_of_every_kind_is_plausible_and_rounded(city: City, kind_name: str) -> None:
    kind = city.catalogue.kind_of[kind_name]
    rows = np.tile(rows_of(city, kind_name), 700)
    times = at("2026-01-01T00:00") + np.arange(len(rows), dtype=np.int64) * (365 * DAY // len(rows))
    values = city.values(kind_name, rows, times)
    assert values.shape == (len(rows), len(kind.metrics))
    assert np.isfinite(values).all()
    assert not out_of_range(values, kind).any()
    resolution = np.array([metric.resolution for metric in kind.metrics])
    steps = values / resolution
    assert np.allclose(steps, np.rint(steps), rtol=1e-12, atol=1e-6)


@pytest.mark.parametrize("kind_name", KINDS)
def test_counters_never_fall_and_do_count(city: City, kind_name: str) -> None:
    kind = city.catalogue.kind_of[kind_name]
    for metric in kind.metrics:
        if metric.behaviour == Behaviour.COUNTER:
            # Minutes across the end of a year, where a stretch of the tables ends, and across a week.
            times = at("2026-12-28T00:00") + np.arange(0, 7 * DAY, 60 * SECOND)
            counted = series(city, kind_name, metric.name, rows_of(city, kind_name)[:4], times)
            assert (np.diff(counted, axis=1) >= 0).all(), metric.name
            year = at("2026-01-01T00:00") + np.arange(0, 366 * DAY, 30 * DAY)
            grown = series(city, kind_name, metric.name, rows_of(city, kind_name)[:4], year)
            assert (grown[:, -1] > grown[:, 0]).all(), metric.name


@settings(deadline=None, max_examples=25)
@given(
    kind_name=st.sampled_from(KINDS),
    when=st.integers(at("2024-06-01T00:00"), at("2028-12-31T00:00")),
    split=st.integers(1, 39),
)
def test_values_depend_only_on_device_and_time(city: City, kind_name: str, when: int, split: int) -> None:
    rows = np.tile(rows_of(city, kind_name)[:4], 10)
    times = when + np.arange(40, dtype=np.int64) * 61 * SECOND
    whole = city.values(kind_name, rows, times)
    fresh = City(city.catalogue, city.fleet, seed=1)
    parts = [
        fresh.values(kind_name, rows[part], times[part]) for part in (slice(split, None), slice(None, split))
    ]
    assert np.array_equal(whole, np.concatenate(parts[::-1]))


def test_another_seed_is_another_city(city: City) -> None:
    rows, times = rows_of(city, "air_quality"), np.full(20, at("2026-11-20T12:00"))
    other = City(city.catalogue, city.fleet, seed=2)
    assert not np.array_equal(
        city.values("air_quality", rows, times), other.values("air_quality", rows, times)
    )


def test_a_growing_fleet_keeps_the_values_and_phases_of_its_beginning(city: City) -> None:
    larger = City(city.catalogue, plan_fleet(city.catalogue, 3 * len(city.fleet)), seed=1)
    assert np.array_equal(larger.phase[: len(city.phase)], city.phase)
    rows, times = rows_of(city, "water"), np.full(20, at("2026-05-05T08:00"))
    assert np.array_equal(larger.values("water", rows, times), city.values("water", rows, times))


def test_cold_season_smoke_has_the_spread_of_the_almaty_region(catalogue: Catalogue) -> None:
    fleet = plan_fleet(catalogue, 12 * len(catalogue.kinds))
    logarithms = []
    for seed in range(1, 7):
        city = City(catalogue, fleet, seed)
        for year in (2024, 2025):
            times = np.arange(at(f"{year}-11-01T00:00"), at(f"{year + 1}-03-01T00:00"), HOUR)
            smoke = series(city, "air_quality", "pm2_5", rows_of(city, "air_quality"), times)
            logarithms.append(np.log(smoke))
    assert np.exp(np.mean(logarithms)) == pytest.approx(90, rel=0.1)
    assert np.exp(np.std(logarithms)) == pytest.approx(2.3, rel=0.06)


def test_summer_air_is_clean_and_the_city_shares_its_inversions(city: City) -> None:
    rows = rows_of(city, "air_quality")
    summer = series(
        city, "air_quality", "pm2_5", rows, np.arange(at("2026-06-01T00:00"), at("2026-09-01T00:00"), HOUR)
    )
    assert 13 < np.exp(np.log(summer).mean()) < 21
    winter = series(
        city, "air_quality", "pm2_5", rows, np.arange(at("2026-12-01T00:00"), at("2027-01-01T00:00"), HOUR)
    )
    correlation = np.corrcoef(np.log(winter))
    assert correlation.min() > 0.8


def test_traffic_has_two_peaks_on_work_days_and_quiet_nights(city: City) -> None:
    rows = rows_of(city, "traffic_flow")
    days = np.arange(at("2026-10-05T00:00"), at("2026-10-10T00:00"), HOUR)  # Monday to Friday
    counted = series(city, "traffic_flow", "vehicles", rows, days)
    hourly = np.diff(counted, axis=1).mean(axis=0)
    by_hour = np.array([hourly[hour::24].mean() for hour in range(24)])
    assert by_hour[8] > 1.2 * by_hour[11]
    assert by_hour[18] > 1.2 * by_hour[15]
    assert by_hour[3] < 0.15 * by_hour[8]


def test_nitrogen_dioxide_and_noise_follow_the_traffic(city: City) -> None:
    times = np.arange(at("2026-10-05T00:00"), at("2026-10-09T00:00"), HOUR // 2)
    air, monitors = rows_of(city, "air_quality"), rows_of(city, "noise")
    no2 = series(city, "air_quality", "no2", air, times).mean(axis=0)
    level = series(city, "noise", "laeq", monitors, times).mean(axis=0)
    occupied = series(city, "traffic_flow", "occupancy", rows_of(city, "traffic_flow"), times).mean(axis=0)
    assert np.corrcoef(no2, occupied)[0, 1] > 0.6
    assert np.corrcoef(level, np.log(occupied))[0, 1] > 0.8


def test_street_lights_follow_the_sun_of_the_season(city: City) -> None:
    row = rows_of(city, "street_light")[:1]
    day = np.arange(0, DAY, 60 * SECOND)
    hours = {}
    for name, date in (("winter", "2026-12-21T00:00"), ("summer", "2026-06-21T00:00")):
        hours[name] = float(series(city, "street_light", "switched_on", row, at(date) + day).mean()) * 24
    # At 43.6 degrees north the longest night has 15 hours, the shortest eight and a half.
    assert hours["winter"] == pytest.approx(14.9, abs=0.5)
    assert hours["summer"] == pytest.approx(8.5, abs=0.5)


def test_heating_follows_the_cold_and_rests_in_summer(city: City) -> None:
    rows = rows_of(city, "heating")
    january = series(
        city, "heating", "heat", rows, np.array([at("2026-01-05T00:00"), at("2026-02-05T00:00")])
    )
    july = series(city, "heating", "heat", rows, np.array([at("2026-07-05T00:00"), at("2026-08-05T00:00")]))
    assert np.diff(january).mean() > 8 * np.diff(july).mean()


def test_power_is_the_slope_of_energy(city: City) -> None:
    rows = rows_of(city, "electricity")
    times = np.arange(at("2026-03-03T00:00"), at("2026-03-04T00:00"), 60 * SECOND)
    energy = series(city, "electricity", "energy", rows, times)
    power = series(city, "electricity", "power", rows, times)
    used = energy[:, -1] - energy[:, 0]
    assert np.allclose(used, power.mean(axis=1) * (times[-1] - times[0]) / HOUR, rtol=0.02)


def test_bins_fill_and_are_emptied(city: City) -> None:
    times = np.arange(at("2026-04-06T00:00"), at("2026-04-13T00:00"), HOUR // 4)
    fill = series(city, "waste_bin", "fill_level", rows_of(city, "waste_bin"), times)
    emptied = (np.diff(fill, axis=1) < -15).sum(axis=1)
    assert emptied.min() >= 2
    assert emptied.max() <= 8


def test_car_park_spaces_add_up(city: City) -> None:
    rows = rows_of(city, "parking")
    times = np.arange(at("2026-04-06T00:00"), at("2026-04-13T00:00"), HOUR)
    occupied = series(city, "parking", "spaces_occupied", rows, times)
    free = series(city, "parking", "spaces_free", rows, times)
    assert (np.ptp(occupied + free, axis=1) == 0).all()


def test_a_payment_is_never_negative_and_its_sum_waits_for_a_payment(city: City) -> None:
    rows = rows_of(city, "payments")
    times = np.arange(at("2026-04-06T00:00"), at("2026-04-08T00:00"), 60 * SECOND)
    paid = np.diff(series(city, "payments", "fiat_volume", rows, times), axis=1)
    count = np.diff(series(city, "payments", "fiat_payments", rows, times), axis=1)
    assert ((paid > 0) == (count > 0)).all()


def test_kinds_and_metrics_of_a_city_file_get_plausible_values(catalogue: Catalogue) -> None:
    wider = build_catalogue(parse_city_file(ADDED, "added.toml"), "added.toml", catalogue)
    fleet = [DeviceSpec(id=f"r{n}", kind="radiation", district="gate") for n in range(5)]
    fleet += [DeviceSpec(id="n1", kind="noise", district="gate", interval="PT10S", installed="2025-06-01")]
    city = City(wider, fleet, seed=3)
    times = np.arange(at("2026-01-01T00:00"), at("2027-01-01T00:00"), 6 * HOUR)
    for row in range(5):
        values = city.values("radiation", np.full(len(times), row), times)
        assert not out_of_range(values, wider.kind_of["radiation"]).any()
        assert (np.diff(values[:, 1]) >= 0).all()
        assert set(np.unique(values[:, 2])) == {0.0, 1.0}
        assert np.ptp(values[:, 0]) > 1
        assert (values[:, 0] % 0.25 == 0).all()
    noise = city.values("noise", np.full(len(times), 5), times)
    assert noise.shape[1] == 4
    assert not out_of_range(noise, wider.kind_of["noise"]).any()


def test_a_counter_begins_with_its_installation(catalogue: Catalogue) -> None:
    installed = DeviceSpec(id="a", kind="water", district="gate", installed="2026-03-01T00:00:00+05:00")
    city = City(catalogue, [installed], seed=1)
    times = np.array([at("2026-02-01T00:00"), at("2026-02-28T23:00"), at("2026-03-02T00:00")])
    volume = series(city, "water", "volume", np.array([0]), times)[0]
    assert volume[0] == volume[1] < volume[2]


def test_times_outside_the_simulated_years_are_refused(city: City) -> None:
    with pytest.raises(ValueError, match="2024"):
        city.values("noise", rows_of(city, "noise")[:1], np.array([0]))
