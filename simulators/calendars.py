"""The city's calendar and sky on a grid of times: local hours, days of the week, season, the sun's height."""

from __future__ import annotations

import dataclasses
import datetime as dt
import zoneinfo

import numpy as np

from sensors.times import DAY, SECOND
from simulators.noise import Floats, Ints

HOUR = 3600 * SECOND
MINUTE = 60 * SECOND
_YEAR_DAYS = 365.2425
_MONDAY_OFFSET = 3  # 1970-01-01 was a Thursday


@dataclasses.dataclass(frozen=True, slots=True)
class Calendar:
    """Local time of the city; all arrays have one entry for each time asked for.

    ``local`` is µs of the local wall clock since the local epoch, ``hour`` in [0, 24), ``workday`` is 1 from
    Monday to Friday, ``season`` is 1 at the coldest (17 January) and -1 at the warmest time of the year,
    ``spring`` is 1 a quarter of a year after the coldest, ``sun`` is the sun's elevation in degrees.
    """

    time: Ints
    local: Ints
    hour: Floats
    workday: Floats
    season: Floats
    spring: Floats
    sun: Floats

    def around(self, peak: float, width: float) -> Floats:
        """Return a bell over the day around a local hour, 1 at its peak, ``width`` hours to each side."""
        distance = np.abs(self.hour - peak)
        distance = np.minimum(distance, 24.0 - distance)
        return np.exp(-0.5 * np.square(distance / width))

    def between(self, start: float, end: float, softness: float = 0.4) -> Floats:
        """Return 1 between two local hours of one day and 0 outside, with soft edges."""
        rise = 1.0 / (1.0 + np.exp((start - self.hour) / softness))
        fall = 1.0 / (1.0 + np.exp((self.hour - end) / softness))
        return rise * fall


def utc_offsets(time: Ints, zone: zoneinfo.ZoneInfo) -> Ints:
    """Return the zone's offset from UTC (µs) at each time; times must rise, offsets change at whole hours."""
    hours = time // HOUR
    unique, inverse = np.unique(hours, return_inverse=True)
    offsets = [
        dt.datetime.fromtimestamp(hour * 3600, dt.UTC).astimezone(zone).utcoffset() or dt.timedelta()
        for hour in unique.tolist()
    ]
    microseconds = np.array([offset // dt.timedelta(microseconds=1) for offset in offsets], dtype=np.int64)
    return microseconds[inverse]


def calendar(time: Ints, zone: zoneinfo.ZoneInfo, longitude: float, latitude: float) -> Calendar:
    """Return the calendar of rising Unix times (µs) at a place in degrees."""
    local = time + utc_offsets(time, zone)
    day_number = local // DAY
    weekday = (day_number + _MONDAY_OFFSET) % 7
    season_angle = 2 * np.pi * (time / DAY - 16.0) / _YEAR_DAYS
    return Calendar(
        time=time,
        local=local,
        hour=(local % DAY) / HOUR,
        workday=(weekday < 5).astype(np.float64),
        season=np.cos(season_angle),
        spring=np.sin(season_angle),
        sun=sun_elevation(time, longitude, latitude),
    )


def sun_elevation(time: Ints, longitude: float, latitude: float) -> Floats:
    """Return the sun's height above the horizon in degrees, to about half a degree.

    Source: the declination and equation of time of Spencer (1971), leading terms.
    """
    angle = 2 * np.pi * (time / DAY) / _YEAR_DAYS
    declination = (
        0.006918 - 0.399912 * np.cos(angle) + 0.070257 * np.sin(angle) - 0.006758 * np.cos(2 * angle)
    )
    equation = 0.000075 + 0.001868 * np.cos(angle) - 0.032077 * np.sin(angle)
    equation += -0.014615 * np.cos(2 * angle) - 0.040849 * np.sin(2 * angle)
    solar_time = (time % DAY) / DAY * 2 * np.pi + np.radians(longitude) + equation
    hour_angle = solar_time - np.pi
    phi = np.radians(latitude)
    sine = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour_angle)
    elevation: Floats = np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0)))
    return elevation
