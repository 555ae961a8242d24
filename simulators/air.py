"""Air quality stations, weather stations and noise monitors."""

from __future__ import annotations

import numpy as np

from simulators.calendars import HOUR, MINUTE
from simulators.noise import Floats
from simulators.sample import Sample

Columns = dict[str, Floats]


def _air_temperature(sample: Sample) -> Floats:
    """Return the outdoor temperature at each site in °C: gardens and heights differ by a degree or two."""
    site = sample.trait("warmth", -1.3, 1.3)
    return sample.field("temperature") + site + 0.25 * sample.wave("temperature", 40 * MINUTE)


def _air_humidity(sample: Sample) -> Floats:
    """Return the relative humidity at each site in %."""
    site = sample.trait("damp", -4.0, 4.0)
    return np.clip(sample.field("humidity") + site + 1.2 * sample.wave("humidity", HOUR), 8.0, 99.0)


def air_quality(sample: Sample) -> Columns:
    """Model a station: smoke of the whole valley, fumes of the street, chemistry of the season."""
    site = 0.75 * sample.trait("smoke", -0.4, 0.4)
    smoke = sample.field("smoke") + site
    smoke += 0.13 * sample.wave("smoke", 100 * MINUTE) + 0.05 * sample.noise("smoke", MINUTE)
    pm2_5 = np.exp(smoke)
    winter, fumes, solar = sample.field("winter"), sample.field("fumes"), sample.field("solar")
    stale = 1.9 / (0.7 + sample.field("wind"))
    street = sample.trait("street", 0.5, 1.6) * np.exp(0.18 * sample.wave("street", 25 * MINUTE))
    dust = (9.0 + 16.0 * (1.0 - winter)) * np.exp(0.45 * sample.wave("dust", 3 * HOUR))
    dust *= 0.6 + 0.5 * fumes
    no2 = 9.0 + street * stale * 34.0 * fumes + 16.0 * winter * sample.field("inversion")
    no2 *= np.exp(0.06 * sample.noise("no2", MINUTE))
    so2 = (5.0 + winter * 0.28 * pm2_5) * np.exp(0.3 * sample.wave("so2", 4 * HOUR))
    ozone = 38.0 + 75.0 * (solar / 850.0) * (1.0 - 0.65 * winter) - 0.42 * no2 + 4.0 * sample.wave("o3", HOUR)
    return {
        "pm1": pm2_5 * np.clip(0.68 + 0.12 * winter + 0.02 * sample.wave("pm1", HOUR), 0.4, 0.95),
        "pm2_5": pm2_5,
        "pm10": pm2_5 * 1.12 + dust,
        "no2": no2,
        "so2": so2 * np.exp(0.08 * sample.noise("so2", MINUTE)),
        "o3": np.maximum(ozone, 2.0 + np.abs(sample.noise("o3", MINUTE))),
        "co": 0.22 + 0.016 * pm2_5 * winter + 0.45 * street * stale * fumes,
        "co2": 424.0
        + 55.0 * street * stale * fumes
        + 60.0 * sample.field("inversion")
        + 2.0 * sample.noise("co2", MINUTE),
        "temperature": _air_temperature(sample) + 0.06 * sample.noise("temperature", MINUTE),
        "humidity": _air_humidity(sample) + 0.25 * sample.noise("humidity", MINUTE),
    }


def weather(sample: Sample) -> Columns:
    """Model a weather station in the open."""
    gust = np.exp(0.3 * sample.noise("gust", MINUTE) + 0.22 * sample.wave("gust", 12 * MINUTE))
    wind = sample.field("wind") * sample.trait("open", 0.7, 1.3) * gust
    turn = 14.0 * sample.noise("turn", MINUTE) + 16.0 * sample.wave("turn", 30 * MINUTE)
    direction = (sample.field("wind_direction") + turn) % 360.0
    fallen, _ = sample.counted("rain", "rain", period=25 * MINUTE, roughness=0.6)
    cloud = sample.field("cloud")
    # Broken cloud lets the sun through by turns; an overcast or a clear sky does not flicker.
    flicker = np.exp(0.9 * cloud * (1.0 - cloud) * sample.wave("cloud", 9 * MINUTE))
    return {
        "temperature": _air_temperature(sample) + 0.06 * sample.noise("temperature", MINUTE),
        "humidity": _air_humidity(sample) + 0.25 * sample.noise("humidity", MINUTE),
        "air_pressure": sample.field("air_pressure")
        + sample.trait("height", -9.0, 9.0)
        + 0.04 * sample.noise("p", MINUTE),
        "wind_speed": wind,
        "wind_direction": direction,
        "precipitation": 260.0 * sample.trait("gauge", 0.0, 1.0) + fallen * sample.trait("wet", 0.85, 1.2),
        "solar_radiation": np.clip(sample.field("solar") * flicker, 0.0, 1400.0),
    }


def noise(sample: Sample) -> Columns:
    """Model a noise monitor: ten decibels more for ten times the traffic, and the odd horn."""
    busy = sample.trait("busy", -5.0, 5.0)
    flow = sample.field("traffic") * np.exp(0.2 * sample.wave("flow", 8 * MINUTE))
    wind = np.clip(sample.field("wind") - 5.0, 0.0, 6.0)
    level = 66.0 + busy + 10.0 * np.log10(0.025 + flow) + 0.8 * wind + 0.9 * sample.noise("laeq", MINUTE)
    horn = sample.chance("horn", MINUTE)
    peak = 8.0 + 1.6 * np.abs(sample.noise("lamax", MINUTE)) + np.where(horn > 0.985, 12.0, 0.0)
    return {
        "laeq": level + np.where(horn > 0.985, 2.5, 0.0),
        "lamax": level + peak,
        "la90": level - 7.5 - 1.2 * np.abs(sample.noise("la90", MINUTE)) + 1.5 * np.minimum(flow, 1.0),
    }
