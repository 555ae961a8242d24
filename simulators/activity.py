"""What the people of the city do, on the grid: relative rates, about 1 at a busy hour."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simulators.calendars import HOUR, Calendar
from simulators.climate import Fields
from simulators.noise import Floats, key_of, wave


def traffic(cal: Calendar, sky: Mapping[str, Floats], seed: np.uint64) -> Floats:
    """Return the demand on the roads: two peaks on a work day, one long afternoon at the weekend."""
    work = 0.05 + 0.8 * cal.around(8.3, 1.15) + 0.5 * cal.around(13.0, 3.4) + 0.8 * cal.around(18.2, 1.6)
    work += 0.16 * cal.around(21.5, 1.8)
    free = 0.07 + 0.55 * cal.around(14.0, 3.6) + 0.35 * cal.around(19.0, 2.4) + 0.1 * cal.around(23.5, 1.5)
    demand = cal.workday * work + (1.0 - cal.workday) * free
    mood = 1.0 + 0.04 * wave(key_of("traffic") ^ seed, cal.time, 20 * HOUR)
    return (
        demand * mood * (1.0 - 0.08 * np.minimum(sky["rain"], 1.0)) * (1.0 - 0.06 * np.clip(cal.season, 0, 1))
    )


def rates(cal: Calendar, sky: Mapping[str, Floats], seed: np.uint64) -> Fields:
    """Return every rate that the city's counters integrate; none is ever negative."""
    work, free = cal.workday, 1.0 - cal.workday
    temperature = sky["temperature"]
    homes = 0.3 + (0.34 - 0.12 * free) * cal.around(7.6, 1.2) + 0.5 * cal.around(20.6, 2.2)
    homes += (0.1 + 0.16 * free) * cal.around(13.0, 3.0)
    homes += 0.3 * np.clip((4.0 - temperature) / 22.0, 0, 1) + 0.35 * np.clip(
        (temperature - 25.0) / 12.0, 0, 1
    )
    offices = 0.16 + (0.84 * work + 0.2 * free) * cal.between(8.2, 18.6, 0.5)
    offices += 0.3 * np.clip((temperature - 24.0) / 12.0, 0, 1) * cal.between(9.0, 19.0, 0.8)

    taps = 0.09 + (0.75 - 0.25 * free) * cal.around(7.6, 1.1) + 0.6 * cal.around(20.5, 2.0)
    taps += (0.22 + 0.3 * free) * cal.around(12.5, 2.8)
    taps *= 1.0 + 0.12 * np.clip(-cal.season, 0.0, 1.0)

    # Heating runs while the season asks for it, from October to the middle of April.
    on = 1.0 / (1.0 + np.exp(-(cal.season + 0.08) / 0.05))
    warmth = on * np.clip((19.0 - temperature) / 38.0, 0.0, 1.2)
    shops = cal.between(8.6, 22.0, 0.7) * (0.45 + 0.35 * cal.around(13.2, 1.5) + 0.6 * cal.around(18.8, 1.7))
    shops += free * 0.4 * cal.around(15.5, 2.8) + 0.012
    online = (
        0.2 + 0.35 * cal.around(13.0, 3.0) + 0.7 * cal.around(21.3, 2.3) + 0.15 * free * cal.around(0.5, 2.0)
    )
    service = cal.between(5.8, 23.8, 0.25)
    riders = work * (0.9 * cal.around(7.9, 1.0) + 0.85 * cal.around(18.0, 1.4) + 0.35 * cal.around(13.0, 3.0))
    riders += free * (0.5 * cal.around(13.5, 3.4) + 0.25 * cal.around(19.0, 2.0)) + 0.05
    waste = 0.12 + 0.5 * cal.around(9.0, 2.0) + 0.8 * cal.around(19.5, 3.0)
    return {
        "homes": homes,
        "offices": offices,
        "taps": taps,
        "heating_on": on,
        "heat": 0.07 * taps + warmth,
        "shops": shops,
        "online": online,
        "service": service,
        "riders": riders * service,
        "waste": waste * (1.0 + 0.15 * free),
        "lights": _lights(cal, sky),
    }


def _lights(cal: Calendar, sky: Mapping[str, Floats]) -> Floats:
    """Return the output of the street lights: full from dusk, half through the small hours, off by day."""
    small_hours = cal.between(0.5, 5.2, 0.05)
    dark = (sky["sun"] < -1.5).astype(np.float64)
    return dark * (1.0 - 0.5 * small_hours)


def parked(cal: Calendar) -> Fields:
    """Return how full the car parks of offices, homes and shops are, in [0, 1]."""
    work, free = cal.workday, 1.0 - cal.workday
    at_work = cal.between(8.6, 18.3, 0.45)
    return {
        "park_offices": 0.05 + work * 0.86 * at_work + free * 0.12 * at_work,
        "park_homes": 0.93 - work * 0.55 * at_work - free * 0.22 * cal.between(11.0, 18.0, 0.9),
        "park_shops": 0.04
        + cal.between(9.6, 21.6, 0.5)
        * (
            0.3
            + 0.25 * cal.around(13.0, 1.6)
            + 0.35 * cal.around(19.0, 1.5)
            + free * 0.35 * cal.around(15.5, 2.6)
        ),
    }
