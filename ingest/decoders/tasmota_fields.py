"""Tasmota's sensors to fields, numbers and units: some drivers send texts, meters of several phases arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ingest.decoders.flat import DEEPEST, LONGEST_NAME, MOST_FIELDS
from ingest.decoders.literals import number
from ingest.decoders.written_units import ucum

_TEMPERATURES = {"C": "Cel", "F": "[degF]", "K": "K"}
# The firmware's Russian translates units, but no names.
_OTHERS = {
    "mmHg": "mm[Hg]",
    "мм рт.ст.": "mm[Hg]",
    "inHg": "[in_i'Hg]",
    "гПа": "hPa",
    "м/с": "m/s",
    "км/ч": "km/h",
    "ft/s": "[ft_i]/s",
    "yd/s": "[yd_i]/s",
}

# ReactivePower is in var, of which UCUM has no code.
_OF_ENERGY = {
    "Total": "kW.h",
    "Yesterday": "kW.h",
    "Today": "kW.h",
    "ExportActive": "kW.h",
    "ImportActive": "kW.h",
    "Period": "W.h",
    "Power": "W",
    "ActivePower": "W",
    "ApparentPower": "V.A",
    "Factor": "1",
    "PowerFactor": "1",
    "Frequency": "Hz",
    "Voltage": "V",
    "Current": "A",
}
_OF_SENSORS = {
    "Humidity": "%",
    "Illuminance": "lx",
    "CarbonDioxide": "[ppm]",
    "eCO2": "[ppm]",
    "TVOC": "[ppb]",
    "PM1": "ug/m3",
    "PM2.5": "ug/m3",
    "PM4": "ug/m3",
    "PM10": "ug/m3",
}
_OF_STATE = {"UptimeSec": "s", "Vcc": "V", "Wifi.RSSI": "%"}
_DIGITS = "0123456789"
_UNITS = ("TempUnit", "PressureUnit", "SpeedUnit")
_NO_MEASUREMENTS = ("Time", "Epoch", *_UNITS, "")
_IDENTITIES = ("Id", "UID", "Serial", "Address")


class Units(NamedTuple):
    """The units of a message, which it says once for all of its sensors; empty where it says none."""

    temperature: str = ""
    pressure: str = ""
    speed: str = ""

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Units:
        """Return what a message says, in UCUM."""
        written = [said.get(name) for name in _UNITS]
        temperature, pressure, speed = (one if isinstance(one, str) else "" for one in written)
        return cls(_TEMPERATURES.get(temperature, ""), _other(pressure), _other(speed))


def _other(written: str) -> str:
    return _OTHERS.get(written) or ucum(written) or ""


class Fields:
    """The fields of one source in one message. Texts that are numbers count, but not in the state of the device."""

    __slots__ = ("_is_state", "_units", "units", "values")

    def __init__(self, units: Units, *, is_state: bool = False) -> None:
        self.values: dict[str, float] = {}
        self.units: dict[str, str] = {}
        self._units = units
        self._is_state = is_state

    def take(self, said: Mapping[str, Any]) -> bool:
        """Add all numbers, and return whether they were within the bounds of all such payloads."""
        is_whole = True
        for name, value in said.items():
            if name not in _NO_MEASUREMENTS:
                is_whole &= self._add(name, name, value, DEEPEST)
        return is_whole

    def _add(self, path: str, name: str, value: Any, depth: int) -> bool:
        if isinstance(value, dict):
            inner = [(f"{path}.{below}", below, one) for below, one in value.items()]
        elif isinstance(value, list):  # of phases or channels, which Tasmota counts from 1
            inner = [(f"{path}.{place}", name, one) for place, one in enumerate(value, 1)]
        else:
            return self._add_number(path, name, value)
        is_whole = depth > 0
        for one in inner if is_whole else ():
            is_whole &= self._add(*one, depth - 1)
        return is_whole

    def _add_number(self, path: str, name: str, value: Any) -> bool:
        found = self._number(name, value)
        if found is None:
            return True
        if len(path) > LONGEST_NAME or len(self.values) >= MOST_FIELDS:
            return False
        self.values[path] = found
        if unit := self._unit(path, name):
            self.units[path] = unit
        return True

    def _number(self, name: str, value: Any) -> float | None:
        if isinstance(value, str) and (self._is_state or name in _IDENTITIES or _is_code(value)):
            return None
        return number(value)

    def _unit(self, path: str, name: str) -> str | None:
        if self._is_state:
            return _OF_STATE.get(path)
        sensor = path.partition(".")[0]
        if sensor.startswith("ENERGY"):
            return _OF_ENERGY.get(name)
        if (unit := _OF_SENSORS.get(name)) is not None:
            return unit
        plain = name.rstrip(_DIGITS)
        if plain.endswith(("Temperature", "DewPoint", "HeatIndex")):
            return self._units.temperature
        if plain.endswith("Pressure"):
            return self._units.pressure
        if "Speed" in path:
            return self._units.speed
        return _OF_SENSORS.get(plain)


def _is_code(text: str) -> bool:
    """Return whether digits name something: a number has no zeros before it."""
    return len(text) > 1 and text[0] == "0" and text[1] in _DIGITS
