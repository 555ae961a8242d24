"""Street lights and the meters of electricity, water and district heating."""

from __future__ import annotations

import numpy as np

from sensors.times import SECOND
from simulators.calendars import HOUR, MINUTE
from simulators.noise import Floats
from simulators.sample import Sample

Columns = dict[str, Floats]

# GJ that one cubic metre of hot water gives up for one kelvin.
_GJ_PER_M3_K = 0.00407


def street_light(sample: Sample) -> Columns:
    """Model a controller of some forty lamps: on at dusk, half output through the small hours."""
    rated = sample.trait("rated", 1.8, 6.5)
    # Photocells agree to about a degree of the sun, four to seven minutes.
    on = sample.field("sun") < sample.trait("photocell", -2.4, -0.8)
    half = sample.field("lights") < 0.75
    output = np.where(on, np.where(half, 50.0, 100.0), 0.0)
    total, _ = sample.counted("lamp hours", "lights", period=HOUR, roughness=0.0)
    # The electronics draw a little by day.
    hours = (sample.time - sample.since) / HOUR
    power = rated * output / 100.0 * (1.0 + 0.008 * sample.noise("power", MINUTE)) + 0.012
    return {
        "switched_on": on.astype(np.float64),
        "dimming": output,
        "power": power,
        "energy": 9_000.0 * sample.trait("start", 0.0, 1.0) + rated * total + 0.012 * np.maximum(hours, 0.0),
    }


def electricity(sample: Sample) -> Columns:
    """Model the meter of a building, partly homes, partly offices; three phases at 400 V."""
    homes = sample.trait("homes", 0.0, 1.0)
    scale = 18.0 * np.exp(sample.trait("scale", -0.9, 1.9))
    home_total, home_rate = sample.counted("homes", "homes", period=7 * MINUTE, roughness=0.55)
    office_total, office_rate = sample.counted("offices", "offices", period=11 * MINUTE, roughness=0.35)
    energy = scale * (homes * home_total + (1.0 - homes) * office_total)
    power = scale * (homes * home_rate + (1.0 - homes) * office_rate)
    load = power / scale
    voltage = (
        229.0
        + sample.trait("feeder", -3.0, 3.0)
        - 4.5 * sample.field("homes")
        + 1.1 * sample.wave("tap", HOUR)
    )
    voltage += 0.5 * sample.noise("voltage", MINUTE)
    factor = np.clip(sample.trait("factor", 0.91, 0.985) + 0.012 * np.minimum(load, 1.5) - 0.006, 0.8, 0.999)
    grid = 0.012 * sample.city_wave("frequency", 40 * SECOND) + 0.01 * sample.city_wave(
        "frequency slow", 11 * MINUTE
    )
    return {
        "energy": 120_000.0 * sample.trait("start", 0.0, 1.0) + energy,
        "power": power,
        "voltage": voltage,
        "current": power * 1000.0 / (3.0 * voltage * factor),
        "frequency": 50.0 + grid,
        "power_factor": factor,
    }


def water(sample: Sample) -> Columns:
    """Model the water meter of a building: bursts by day, almost nothing at night."""
    scale = np.exp(sample.trait("scale", -0.7, 1.6))
    total, rate = sample.counted("taps", "taps", period=4 * MINUTE, roughness=0.9)
    pressure = 4.6 + sample.trait("floor", -0.6, 0.6) - 0.8 * sample.field("taps")
    return {
        "volume": 30_000.0 * sample.trait("start", 0.0, 1.0) + scale * total,
        "flow": scale * rate,
        "pressure": pressure + 0.05 * sample.noise("pressure", MINUTE),
        "water_temperature": 10.5
        - 5.0 * sample.field("season")
        + sample.trait("pipe", -1.0, 1.0)
        + 0.3 * sample.wave("pipe", 2 * HOUR),
    }


def heating(sample: Sample) -> Columns:
    """Model a building's heat meter on the city's weather curve; in summer only its hot water runs."""
    scale = 0.9 * np.exp(sample.trait("scale", -0.6, 1.2))
    total, rate = sample.counted("heat", "heat", period=50 * MINUTE, roughness=0.3)
    on = sample.field("heating_on")
    demand = np.clip((18.0 - sample.field("temperature")) / 40.0, 0.0, 1.0) * on
    supply = 62.0 + 46.0 * demand + sample.trait("distance", -3.0, 0.0) + 0.5 * sample.wave("supply", HOUR)
    drop = 13.0 + 26.0 * demand + 1.2 * sample.wave("drop", 2 * HOUR)
    return {
        "heat": 4_000.0 * sample.trait("start", 0.0, 1.0) + scale * total,
        "supply_temperature": supply + 0.15 * sample.noise("supply", MINUTE),
        "return_temperature": supply - drop + 0.15 * sample.noise("return", MINUTE),
        "flow": scale * rate / (_GJ_PER_M3_K * drop),
        "pressure": 6.2
        + sample.trait("storey", -0.7, 0.7)
        + 0.4 * on
        + 0.03 * sample.noise("pressure", MINUTE),
    }
