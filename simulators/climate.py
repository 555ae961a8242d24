"""The city's weather and air on the grid: what every station of the city shares.

Almaty region: January -6 °C and July 25 °C on average, a spring maximum of rain, weak winds, and a valley
whose winter inversions hold the smoke of coal stoves down for days.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simulators.calendars import HOUR, Calendar
from simulators.noise import Floats, Keys, key_of, wave

Fields = dict[str, Floats]

# Cold season (November to February): geometric mean 90 µg/m³ and geometric standard deviation 2.3;
# summer between 15 and 20.
_LN_WINTER_PM = float(np.log(90.0))
_LN_SUMMER_PM = float(np.log(17.0))
_LN_HEAVY_PM = float(np.log(400.0))


def _waves(seed: Keys | np.uint64, name: str, cal: Calendar, hours: float) -> Floats:
    return wave(key_of(name) ^ seed, cal.time, round(hours * HOUR))


def weather(cal: Calendar, seed: np.uint64) -> Fields:
    """Return the weather fields, each of the length of the calendar.

    ``stagnation`` has mean 0 and deviation 1: high under a lid of still, cold air.
    """
    still = 0.92 * _waves(seed, "stagnation", cal, 52) + 0.39 * _waves(seed, "stagnation slow", cal, 150)
    wet = 0.8 * _waves(seed, "wet", cal, 26) + 0.6 * _waves(seed, "wet fast", cal, 5) - 0.35 * still
    wet /= np.sqrt(1.0 + 0.35**2)
    cloud = 1.0 / (1.0 + np.exp(-1.6 * (wet - 0.1 + 0.25 * cal.season)))
    summer = 0.5 - 0.5 * cal.season
    cold = np.clip(cal.season, 0.0, 1.0)

    swing = (3.6 + 3.4 * summer) * (1.0 - 0.55 * cloud)
    daily = np.cos(2 * np.pi * (cal.hour - 15.0) / 24.0)
    temperature = 9.5 - 15.5 * cal.season + swing * daily
    temperature += (3.6 + 1.2 * cold) * _waves(seed, "front", cal, 80) - 1.4 * cold * still

    # Rain falls in about one hour of fourteen; April and May are the wettest, August the driest.
    rain = np.clip(wet - 1.45, 0.0, None) * (1.6 + 0.9 * cal.spring - 0.3 * (1.0 - cal.season))

    humidity = 60.0 + 13.0 * cal.season - (9.0 + 6.0 * summer) * daily * (1.0 - 0.6 * cloud)
    humidity += 16.0 * (cloud - 0.5) + 14.0 * np.minimum(rain, 1.0) + 3.0 * cold * still

    breeze = 0.35 * summer * cal.around(15.5, 3.0)
    wind = np.exp(0.5 + 0.42 * _waves(seed, "wind", cal, 7) - 0.42 * still + breeze - 0.12 * cold)
    # The mountains lie to the south: air drains from them at night and is drawn up to them by day.
    direction = 165.0 + 175.0 * np.clip(0.5 + 0.7 * daily, 0.0, 1.0) * (0.4 + 0.6 * summer)
    direction += 45.0 * _waves(seed, "wind direction", cal, 15)
    pressure = 939.0 + 3.0 * cal.season + 3.8 * still + 2.2 * _waves(seed, "pressure", cal, 50)
    pressure += 0.7 * np.cos(4 * np.pi * (cal.hour - 9.5) / 24.0)
    height = np.clip(np.sin(np.radians(cal.sun)), 0.0, None)
    return {
        "stagnation": still,
        "cloud": cloud,
        "temperature": temperature,
        "rain": rain,
        "humidity": humidity,
        "wind": wind,
        "wind_direction": direction,
        "air_pressure": pressure,
        "solar": 1080.0 * height**1.15 * (1.0 - 0.75 * cloud**2),
        "sun": cal.sun,
    }


def pollution(cal: Calendar, sky: Mapping[str, Floats], traffic: Floats, seed: np.uint64) -> Fields:
    """Return the city's background of smoke: ``smoke`` is the natural logarithm of PM2.5 in µg/m³."""
    # Stoves are lit at the end of October and let go out in March: a season around 1 January.
    winter = np.clip((0.96 * cal.season - 0.27 * cal.spring + 0.1) / 0.55, 0.0, 1.0)
    winter = winter * winter * (3.0 - 2.0 * winter)
    still = sky["stagnation"]
    evening, morning = cal.around(21.0, 2.6), cal.around(8.5, 1.8)
    afternoon = cal.around(15.0, 2.6)
    daily = winter * (0.62 * evening + 0.28 * morning - 0.34 * afternoon - 0.11)
    daily += (1.0 - winter) * (0.25 * evening + 0.25 * morning - 0.2 * afternoon - 0.06)
    smoke = _LN_SUMMER_PM + (_LN_WINTER_PM - _LN_SUMMER_PM) * winter + daily
    smoke += (0.26 + 0.46 * winter) * still + (0.16 + 0.12 * winter) * _waves(seed, "smoke", cal, 14)
    smoke -= 0.35 * np.minimum(sky["rain"], 1.0)
    # Past a few hundred µg/m³ the valley overflows at its edges: the tail is shorter than log-normal.
    smoke -= 0.5 * np.clip(smoke - _LN_HEAVY_PM, 0.0, None)
    night = 1.0 - np.clip(sky["solar"] / 300.0, 0.0, 1.0)
    lid = winter * (0.55 + 0.45 * night) / (1.0 + np.exp(-2.2 * still))
    return {"winter": winter, "inversion": lid, "smoke": smoke, "fumes": traffic * (1.0 + 1.3 * lid)}
