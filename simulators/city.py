"""The simulated city: values of any device at any time, a pure function of seed, device and time."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec, Metric
from sensors.times import parse_duration, parse_timestamp
from simulators import air, mobility, payments, surroundings, utilities
from simulators.fields import EPOCH, CityFields, Place
from simulators.generic import generic
from simulators.noise import Floats, Ints, hashed, key_of
from simulators.sample import Sample

Model = Callable[[Sample], Mapping[str, Floats]]

MODELS: Mapping[str, Model] = {
    "air_quality": air.air_quality,
    "weather": air.weather,
    "noise": air.noise,
    "traffic_flow": mobility.traffic_flow,
    "parking": mobility.parking,
    "public_transport": mobility.public_transport,
    "street_light": utilities.street_light,
    "electricity": utilities.electricity,
    "water": utilities.water,
    "heating": utilities.heating,
    "waste_bin": surroundings.waste_bin,
    "river_level": surroundings.river_level,
    "payments": payments.payments,
}


class City:
    """A whole city from a seed. A device's values depend on its id, not on its place in the fleet."""

    def __init__(self, catalogue: Catalogue, fleet: Sequence[DeviceSpec], seed: int) -> None:
        self.catalogue = catalogue
        self.fleet = tuple(fleet)
        self.seed = key_of(f"seed {seed}")
        place = _place(catalogue)
        self.zone = place.zone
        self._fields = CityFields(place, self.seed)
        ids = np.array([key_of(device.id) for device in fleet], dtype=np.uint64)
        self.keys = hashed(self.seed, ids)
        self._since = np.array([_installed(device) for device in fleet], dtype=np.int64)
        numbers = {kind.name: number for number, kind in enumerate(catalogue.kinds)}
        self.kind_number = np.array([numbers[device.kind] for device in fleet], dtype=np.int64)
        self.interval = np.array(
            [parse_duration(d.interval or catalogue.kind_of[d.kind].interval) for d in fleet], dtype=np.int64
        )
        # In whole milliseconds, the finest time the wire carries.
        milliseconds = hashed(self.keys, np.zeros(1)) % (self.interval // 1000).astype(np.uint64)
        self.phase = milliseconds.astype(np.int64) * 1000

    def values(self, kind_name: str, device_rows: npt.NDArray[np.int64], times_us: Ints) -> Floats:
        """Return the values of devices of one kind, shape (n, metrics), in the kind's column order.

        ``device_rows`` (n,) are places in the fleet, ``times_us`` (n,) Unix µs. Every value lies in its
        metric's plausible range and is rounded to its resolution. ValueError for times outside 2024 to 2099.
        """
        kind = self.catalogue.kind_of[kind_name]
        self._fields.cover(times_us)
        sample = Sample(self._fields, self.keys[device_rows], times_us, self._since[device_rows])
        model = MODELS.get(kind_name)
        known = model(sample) if model else {}
        values = np.empty((len(device_rows), len(kind.metrics)))
        for column, metric in enumerate(kind.metrics):
            raw = known[metric.name] if metric.name in known else generic(metric, sample)
            values[:, column] = measured(metric, raw)
        return values


def decimals_of(metric: Metric) -> int:
    """Return how many digits after the point show the metric's resolution."""
    exponent = Decimal(repr(metric.resolution)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def measured(metric: Metric, raw: Floats) -> Floats:
    """Round to the metric's resolution, inside its range: what a sensor can say."""
    if metric.resolution > 0:
        raw = np.round(np.rint(raw / metric.resolution) * metric.resolution, decimals_of(metric))
    return np.clip(raw, metric.minimum, metric.maximum)


def _place(catalogue: Catalogue) -> Place:
    corners = [corner for district in catalogue.districts for corner in district.outline]
    longitude, latitude = np.mean(np.array(corners or [(0.0, 0.0)]), axis=0)
    return Place(float(longitude), float(latitude), zoneinfo.ZoneInfo(catalogue.city.timezone))


def _installed(device: DeviceSpec) -> int:
    """Return when a device's counters began: its installation, but not before the simulated city."""
    if device.installed is None:
        return EPOCH
    text = device.installed if "T" in device.installed else f"{device.installed}T00:00:00Z"
    return max(parse_timestamp(text), EPOCH)
