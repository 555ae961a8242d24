"""Traffic detectors, car parks and public transport vehicles."""

from __future__ import annotations

import numpy as np

from simulators.calendars import HOUR, MINUTE
from simulators.noise import Floats
from simulators.sample import Sample

Columns = dict[str, Floats]


def traffic_flow(sample: Sample) -> Columns:
    """Model a detector over one road: the fuller it is, the slower, and past its capacity a queue."""
    capacity = sample.trait("capacity", 500.0, 2400.0)
    total, rate = sample.counted("vehicles", "traffic", period=3 * MINUTE, roughness=0.8)
    # Congestion follows the demand of the last minutes, not of the last car.
    load = sample.field("traffic") * sample.trait("load", 0.62, 1.12)
    load *= np.exp(0.09 * sample.wave("load", 20 * MINUTE))
    free = sample.trait("free speed", 48.0, 78.0)
    rain = 1.0 - 0.1 * np.minimum(sample.field("rain"), 1.0)
    speed = free * rain / (1.0 + 0.9 * np.power(load, 4)) * np.exp(0.05 * sample.noise("speed", MINUTE))
    night = np.exp(-5.0 * load)
    queue = np.clip(load - 0.86, 0.0, None) * 620.0 * np.exp(0.3 * sample.noise("queue", MINUTE))
    heavy = sample.trait("heavy", 4.0, 12.0) * (1.0 + 1.2 * night) + 1.2 * sample.noise("heavy", MINUTE)
    occupancy = 4.0 + 17.0 * rate * sample.trait("load", 0.62, 1.12) * free / np.maximum(speed, 5.0)
    return {
        "vehicles": np.floor(20_000.0 * sample.trait("start", 0.0, 1.0) + capacity * total),
        "speed": speed,
        "occupancy": np.clip(occupancy - 4.0 * night, 0.0, 96.0),
        "heavy_share": np.clip(heavy, 0.0, 60.0),
        "queue_length": queue,
    }


def parking(sample: Sample) -> Columns:
    """Model a car park of offices, of homes or of shops."""
    spaces = np.floor(sample.trait("spaces", 60.0, 620.0))
    sort = sample.choice("sort", 3)
    full = np.choose(
        sort, [sample.field("park_offices"), sample.field("park_homes"), sample.field("park_shops")]
    )
    full = full * sample.trait("popular", 0.82, 1.06) + 0.025 * sample.wave("arrivals", 15 * MINUTE)
    full += 0.04 * sample.wave("day", 18 * HOUR)
    occupied = np.rint(np.clip(full, 0.0, 1.0) * spaces)
    return {
        "spaces_occupied": occupied,
        "spaces_free": spaces - occupied,
        "occupancy": 100.0 * occupied / spaces,
    }


def public_transport(sample: Sample) -> Columns:
    """Model a bus: crowded and late when the roads are, in the depot at night."""
    service = sample.field("service") > 0.5
    seats = sample.trait("size", 45.0, 110.0)
    riders = sample.field("riders")
    jam = np.power(sample.field("traffic"), 2)
    total, _ = sample.counted("boardings", "riders", period=4 * MINUTE, roughness=0.85)
    delay = 20.0 + 210.0 * jam * sample.trait("late", 0.5, 1.5) + 75.0 * sample.wave("delay", 35 * MINUTE)
    delay += 90.0 * np.minimum(sample.field("rain"), 1.0)
    crowd = seats * riders * np.exp(0.35 * sample.wave("crowd", 12 * MINUTE))
    # A bus stands at a stop, or rolls; a reading a minute sees one or the other.
    rolling = sample.chance("stop", MINUTE) > 0.28
    speed = 34.0 / (1.0 + 0.8 * jam) * np.exp(0.25 * sample.noise("speed", MINUTE))
    return {
        "delay": np.where(service, np.clip(delay, -180.0, 3600.0), 0.0),
        "passengers": np.where(service, np.floor(np.clip(crowd, 0.0, 1.4 * seats)), 0.0),
        "speed": np.where(service & rolling, speed, 0.0),
        "boardings": np.floor(5_000.0 * sample.trait("start", 0.0, 1.0) + 130.0 * total),
    }
