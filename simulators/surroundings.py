"""Waste bins and river gauges."""

from __future__ import annotations

import numpy as np

from sensors.times import DAY
from simulators.calendars import HOUR, MINUTE
from simulators.fields import EPOCH
from simulators.noise import Floats, gaussian, key_of
from simulators.sample import Sample

Columns = dict[str, Floats]


def waste_bin(sample: Sample) -> Columns:
    """Model a bin that fills with the city's meals and shops until the lorry comes, in one to three days."""
    fields = sample.fields
    round_days = 1 + sample.choice("round", 3)
    hour = sample.trait("lorry", 4.5, 9.0)
    local = fields.local(sample.time)
    phase = sample.choice("first day", 6)
    day = np.floor((local - hour * HOUR) / DAY).astype(np.int64)
    emptied_day = (day + phase) // round_days * round_days - phase
    # The lorry is on time to half an hour, but never the same.
    lateness = 12.0 * gaussian(sample.key ^ key_of("lateness"), emptied_day + 10_000)
    emptied_local = emptied_day * DAY + (hour * HOUR).astype(np.int64) + (lateness * MINUTE).astype(np.int64)
    emptied = np.clip(emptied_local - (local - sample.time), EPOCH, sample.time)
    since_emptied = fields.integral("waste", sample.time) - fields.integral("waste", emptied)
    # One day's waste integrates to about eight units.
    per_unit = sample.trait("busy", 40.0, 90.0) / (8.3 * round_days)
    fill = 3.0 + per_unit * since_emptied * (
        1.0 + 0.12 * gaussian(sample.key ^ key_of("week"), emptied_day + 10_000)
    )
    warmth = 3.0 + 9.0 * sample.field("solar") / 900.0 * sample.trait("sunny", 0.3, 1.0)
    charge = ((sample.time - EPOCH) / DAY + sample.trait("charged", 0.0, 700.0)) % 700.0 / 700.0
    cold = np.clip(-sample.field("temperature") / 30.0, 0.0, 1.0)
    return {
        "fill_level": np.clip(fill, 0.0, 100.0),
        "temperature": sample.field("temperature") + warmth + 0.2 * sample.noise("inside", 15 * MINUTE),
        "tilted": (sample.chance("tilted", 4 * HOUR) < 0.0015).astype(np.float64),
        "battery": np.clip(100.0 - 72.0 * charge - 6.0 * cold, 3.0, 100.0),
    }


def river_level(sample: Sample) -> Columns:
    """Model a gauge of a mountain river: summer melt with a daily wave, and rain a few hours late."""
    fields, time = sample.fields, sample.time
    lag = (sample.trait("lag", 2.0, 9.0) * HOUR).astype(np.int64)
    upstream = np.maximum(time - lag, EPOCH)
    recent = fields.integral("rain", upstream) - fields.integral(
        "rain", np.maximum(upstream - 18 * HOUR, EPOCH)
    )
    season = sample.field("season")
    melt = np.clip(0.35 - 0.65 * season, 0.05, 1.0) * (
        1.0 + 0.012 * np.clip(fields.at("temperature", upstream), -10, 35)
    )
    daily = 0.05 * melt * np.sin(2 * np.pi * ((fields.local(upstream) % DAY) / DAY - 0.55))
    depth = sample.trait("depth", 0.35, 0.6) + 0.62 * melt + daily + 0.11 * recent
    depth += 0.02 * sample.wave("bed", 6 * HOUR) + 0.002 * sample.noise("level", 5 * MINUTE)
    width = sample.trait("width", 6.0, 22.0)
    flow = width * np.power(np.maximum(depth, 0.05), 1.67)
    return {
        "level": sample.trait("zero", 0.2, 1.4) + depth,
        "discharge": flow,
        "water_temperature": np.maximum(
            7.0 - 6.4 * season + 1.3 * daily / 0.05 + sample.trait("spring", -1.0, 1.0), 0.2
        ),
        "turbidity": (4.0 + 26.0 * melt * melt + 32.0 * recent) * np.exp(0.25 * sample.wave("mud", 3 * HOUR)),
    }
