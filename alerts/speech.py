"""What alerts say, in the languages of the page: the texts are its own, so that both say the same."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import importlib.resources
import re
import zoneinfo
from collections.abc import Callable, Mapping

import orjson

from sensors.catalogue import Catalogue
from sensors.messages import Argument, Language, Number, Phrase
from sensors.times import SECOND

# UCUM codes as people write them; the page has the same (dashboard/views/words.js).
_UNITS = {
    "ug/m3": "µg/m³", "mg/m3": "mg/m³", "Cel": "°C", "deg": "°", "W/m2": "W/m²", "m3": "m³", "m3/h": "m³/h",
    "m3/s": "m³/s", "kW.h": "kWh", "{KZT}": "₸", "{NTU}": "NTU", "1": "",
}  # fmt: skip
_COUNTED = re.compile(r"\{.*\}")
_PLACE = re.compile(r"\{(\w+)\}")
_SPANS = ((86_400, "day"), (3600, "hour"), (60, "minute"))
_NO_BREAK = "\u00a0"
_COMMA = str.maketrans({",": _NO_BREAK, ".": ","})


def _russian(n: int) -> str:
    if n % 10 == 1 and n % 100 != 11:
        return "one"
    return "few" if n % 10 in (2, 3, 4) and n % 100 not in (12, 13, 14) else "many"


# Source: CLDR, cardinal rules of whole numbers.
_FORM: Mapping[Language, Callable[[int], str]] = {
    Language.ENGLISH: lambda n: "one" if n == 1 else "other",
    Language.RUSSIAN: _russian,
    Language.KAZAKH: lambda n: "one" if n == 1 else "other",
}


@functools.cache
def _texts(language: Language) -> Mapping[str, str]:
    path = importlib.resources.files("dashboard").joinpath(f"locales/{language.value}.json")
    texts: dict[str, str] = orjson.loads(path.read_bytes())
    return texts


def text(language: Language, key: str, /, n: int | None = None, **places: str) -> str:
    """Return a text with its places filled; ``n``, how many there are, chooses the plural form and is a place."""
    texts = _texts(language)
    if n is None:
        said = texts[key]
    else:
        said = texts.get(f"{key}.{_FORM[language](n)}") or texts.get(f"{key}.other") or texts[key]
        places["n"] = _written(language, n, 0)
    return _PLACE.sub(lambda place: places[place[1]], said)


def _written(language: Language, value: float, digits: int) -> str:
    written = f"{value:,.{digits}f}"
    return written if language is Language.ENGLISH else written.translate(_COMMA)


@dataclasses.dataclass(frozen=True, slots=True)
class Speech:
    """Says phrases at ``now`` (Unix µs), by the clock of ``zone``. What a city has added to what comes with us is
    called as its catalogue says."""

    now: int
    zone: zoneinfo.ZoneInfo
    catalogue: Catalogue | None = None
    language: Language = Language.ENGLISH

    def say(self, *phrases: Phrase) -> str:
        """Return phrases, one after the other."""
        return " ".join(map(self._phrase, phrases))

    def _phrase(self, phrase: Phrase) -> str:
        args = {name: one for name, one in phrase["args"].items() if name != "n"}
        n = phrase["args"].get("n")
        many = n["value"] if n and n["type"] == "count" else None
        return self._text(phrase["key"], many, **{name: self._argument(one) for name, one in args.items()})

    def _text(self, key: str, n: int | None = None, **places: str) -> str:
        return text(self.language, key, n, **places)

    def _argument(self, one: Argument) -> str:
        match one["type"]:
            case "number":
                return self._number(one)
            case "time":
                return self._clock(dt.datetime.fromisoformat(one["value"]))
            case "span":
                return self._span(one["value"])
            case "count":
                return _written(self.language, one["value"], 0)
            case "district":
                return (
                    self._text("alert.city") if one["value"] is None else self._name("district", one["value"])
                )
            case "metrics":
                return ", ".join(self._name("metric", name) for name in one["value"])
            case "aggregate":
                return self._text(f"drill.agg.{one['value']}")
            case "reason":
                return self._text(f"drill.reason.{one['value']}")
            case "source":
                return _texts(self.language).get(f"alert.source.{one['value']}", one["value"])
            case "device":
                return one["value"]
            case type_:
                return self._name(type_, one["value"])

    def _name(self, type_: str, name: str) -> str:
        title = _texts(self.language).get(f"{type_}.{name}")
        if title is None and self.catalogue is not None:
            known = getattr(self.catalogue, f"{type_}_of").get(name)
            title = known and known.title
        return title or name

    def _number(self, one: Number) -> str:
        unit = one["unit"] or "1"
        is_counted = unit not in _UNITS and _COUNTED.fullmatch(unit)
        written = "" if is_counted else _UNITS.get(unit, unit.strip("[]"))
        quantity = f"{_written(self.language, one['value'], one['digits'])} {written}".strip()
        return self._text("alert.per_hour", quantity=quantity) if one["per"] else quantity

    def _clock(self, moment: dt.datetime) -> str:
        """Return a moment on the clock; with its day where that is not today, with its year where that is another."""
        local, now = moment.astimezone(self.zone), dt.datetime.fromtimestamp(self.now / SECOND, self.zone)
        day = f"{local.day} {self._text(f'drill.month.{local.month}')}"
        if local.year != now.year:
            return f"{day} {local.year}, {local:%H:%M}"
        return f"{local:%H:%M}" if local.date() == now.date() else f"{day}, {local:%H:%M}"

    def _span(self, seconds: int) -> str:
        size, name = next(
            (one for one in _SPANS if seconds >= 2 * one[0] or seconds == one[0]), (1, "second")
        )
        return self._text(f"alert.span.{name}", seconds // size)
