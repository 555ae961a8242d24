"""Conversion between units that are written in UCUM, as far as sensors need it.

Source: The Unified Code for Units of Measure, https://ucum.org; factors are exact where the unit is defined by them.
"""

from __future__ import annotations

import functools
import math
import re
from fractions import Fraction
from typing import NamedTuple

from sensors.errors import AlatauError, did_you_mean


class UnitError(AlatauError):
    """A text is no unit that is known here, or one is no measure of what the other measures."""


class Conversion(NamedTuple):
    """``value × factor + offset`` is the value in the other unit."""

    factor: float
    offset: float


class _Unit(NamedTuple):
    """So many of the base units, and where its zero lies in them."""

    size: Fraction | float
    dimension: dict[str, int]  # powers of m, g, s, K, A, cd, mol, or of what is none of these
    zero: Fraction | float = 0

    @property
    def exact(self) -> Fraction:
        """The size as its decimals say it: factors between units come out round."""
        return self.size if isinstance(self.size, Fraction) else Fraction(str(self.size))


_PREFIXES = {
    "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "c": 1e-2, "d": 1e-1,
    "da": 1e1, "h": 1e2, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
}  # fmt: skip
_JOULE = {"g": 1, "m": 2, "s": -2}
_PASCAL = {"g": 1, "m": -1, "s": -2}
_VOLT = {"g": 1, "m": 2, "s": -3, "A": -1}
# Those that take a prefix.
_METRIC = {
    "m": _Unit(1, {"m": 1}),
    "g": _Unit(1, {"g": 1}),
    "s": _Unit(1, {"s": 1}),
    "K": _Unit(1, {"K": 1}),
    "A": _Unit(1, {"A": 1}),
    "cd": _Unit(1, {"cd": 1}),
    "mol": _Unit(1, {"mol": 1}),
    "Cel": _Unit(1, {"K": 1}, Fraction("273.15")),
    "Hz": _Unit(1, {"s": -1}),
    "N": _Unit(1e3, {"g": 1, "m": 1, "s": -2}),
    "Pa": _Unit(1e3, _PASCAL),
    "bar": _Unit(1e8, _PASCAL),
    "J": _Unit(1e3, _JOULE),
    "W": _Unit(1e3, {"g": 1, "m": 2, "s": -3}),
    "cal": _Unit(4184.0, _JOULE),
    "eV": _Unit(1.602176634e-16, _JOULE),
    "C": _Unit(1, {"A": 1, "s": 1}),
    "V": _Unit(1e3, _VOLT),
    "Ohm": _Unit(1e3, {"g": 1, "m": 2, "s": -3, "A": -2}),
    "S": _Unit(1e-3, {"g": -1, "m": -2, "s": 3, "A": 2}),
    "lm": _Unit(1, {"cd": 1}),
    "lx": _Unit(1, {"cd": 1, "m": -2}),
    "T": _Unit(1e3, {"g": 1, "s": -2, "A": -1}),
    "Bq": _Unit(1, {"s": -1, "{decay}": 1}),
    "Sv": _Unit(1, {"m": 2, "s": -2, "{dose}": 1}),
    "Gy": _Unit(1, {"m": 2, "s": -2, "{dose}": 1}),
    "L": _Unit(1e-3, {"m": 3}),
    "l": _Unit(1e-3, {"m": 3}),
    "t": _Unit(1e6, {"g": 1}),
    "VA": _Unit(1e3, {"g": 1, "m": 2, "s": -3}),
    "var": _Unit(1e3, {"g": 1, "m": 2, "s": -3}),
    "B": _Unit(10, {"{level}": 1}),
}
_OTHERS = {
    "1": _Unit(1, {}),
    "%": _Unit(1e-2, {}),
    "[ppth]": _Unit(1e-3, {}),
    "[ppm]": _Unit(1e-6, {}),
    "[ppb]": _Unit(1e-9, {}),
    "10*": _Unit(10, {}),
    "10^": _Unit(10, {}),
    "min": _Unit(60, {"s": 1}),
    "h": _Unit(3600, {"s": 1}),
    "d": _Unit(86_400, {"s": 1}),
    "wk": _Unit(604_800, {"s": 1}),
    "deg": _Unit(math.pi / 180, {}),
    "rad": _Unit(1, {}),
    "gon": _Unit(math.pi / 200, {}),
    "[degF]": _Unit(Fraction(5, 9), {"K": 1}, Fraction("459.67") * 5 / 9),
    "[g]": _Unit(9.80665, {"m": 1, "s": -2}),
    "[pH]": _Unit(1, {"{acidity}": 1}),
    "[in_i]": _Unit(0.0254, {"m": 1}),
    "[ft_i]": _Unit(0.3048, {"m": 1}),
    "[yd_i]": _Unit(0.9144, {"m": 1}),
    "[mi_i]": _Unit(1609.344, {"m": 1}),
    "[nmi_i]": _Unit(1852, {"m": 1}),
    "[kn_i]": _Unit(Fraction(1852, 3600), {"m": 1, "s": -1}),
    "[gal_us]": _Unit(3.785411784e-3, {"m": 3}),
    "[lb_av]": _Unit(453.59237, {"g": 1}),
    "[psi]": _Unit(6.894757293168e6, _PASCAL),
    "m[Hg]": _Unit(133.322387415e6, _PASCAL),
    "mm[Hg]": _Unit(133.322387415e3, _PASCAL),
    "[in_i'Hg]": _Unit(25.4 * 133.322387415e3, _PASCAL),
    "mm[H2O]": _Unit(9.80665e3, _PASCAL),
    "atm": _Unit(101_325e3, _PASCAL),
    "har": _Unit(1e4, {"m": 2}),
    "[Btu_IT]": _Unit(1055.05585262e3, _JOULE),
}
_PART = re.compile(
    r"(\{[^{}]*\}|(?:[A-Za-z%]|\[[^\[\]]*\]|10[*^]|1(?![0-9]))+?)([+-]?[0-9]+)?(\{[^{}]*\})?(?=[./]|$)"
)


def convert(source: str, target: str) -> Conversion:
    """Return how a value in ``source`` becomes one in ``target``. Raises UnitError, which says what would do."""
    if source == target:
        return Conversion(1.0, 0.0)
    given, wanted = _parse(source), _parse(target)
    if given.dimension != wanted.dimension:
        raise UnitError(
            f'"{source}" and "{target}" measure different things; give a unit of the same as "{target}", '
            "or scale and offset and no unit"
        )
    return Conversion(
        float(given.exact / wanted.exact),
        float((Fraction(given.zero) - Fraction(wanted.zero)) / wanted.exact),
    )


def check_unit(text: str) -> None:
    """Raise UnitError if a text is no unit that is known here."""
    _parse(text)


@functools.lru_cache(maxsize=1024)
def _parse(text: str) -> _Unit:
    if not text or len(text) > 64:
        raise UnitError(f'"{text[:64]}" is no unit; write UCUM, such as Cel, ug/m3 or kW.h')
    size, dimension, place, sign = Fraction(1), dict[str, int](), 0, 1
    zero: Fraction | float = 0
    if text.startswith("/"):
        place, sign = 1, -1
    while place < len(text):
        part = _PART.match(text, place)
        if part is None:
            raise UnitError(f'"{text}" is no unit; write UCUM, such as Cel, ug/m3 or kW.h')
        atom, power = _atom(part[1], text), sign * int(part[2] or 1)
        if abs(power) > 12:
            raise UnitError(f'"{text}": a power of {power} is none that anything is measured in')
        size *= atom.exact**power
        for base, times in atom.dimension.items():
            dimension[base] = dimension.get(base, 0) + times * power
        zero = atom.zero if part[0] == text else 0
        place = part.end() + 1
        sign = -1 if text[part.end() : place] == "/" else 1
    if text[-1] in "./":
        raise UnitError(f'"{text}" ends with "{text[-1]}"; write what comes after it, or leave it out')
    return _Unit(size, {base: power for base, power in dimension.items() if power}, zero)


def _atom(text: str, whole: str) -> _Unit:
    if text.startswith("{"):
        # Things that are counted are pure numbers, but money of two currencies is not the same.
        return _Unit(1, {text: 1} if re.fullmatch(r"\{[A-Z]{3}\}", text) else {})
    if (unit := _OTHERS.get(text) or _METRIC.get(text)) is not None:
        return unit
    for length in (2, 1):
        prefix, rest = _PREFIXES.get(text[:length]), _METRIC.get(text[length:])
        if prefix is not None and rest is not None:
            return _Unit(Fraction(str(prefix)) * rest.exact, rest.dimension, rest.zero)
    near = did_you_mean(text, [*_METRIC, *_OTHERS])
    raise UnitError(
        f'"{text}"{"" if text == whole else f" in {whole!r}"} is no unit that is known here; {near}'
    )
