"""InfluxDB's line protocol, as Telegraf and many firmwares write it, on ``telegraf/#`` and ``influx/#``.

Telegraf tells one machine's many series apart by tags, so there the host is the source and the other tags are part of
the field's name. On ``influx/`` a device writes of itself: its tags describe it, and are left out.
"""

from __future__ import annotations

import math
import re

from ingest.decoders.gathering import LONGEST_NAME, SECONDS_BELOW, Gathering, Steps, shown
from ingest.decoders.parsed import Format, Incoming, Parsed, refuse
from sensors.checks import Reason
from sensors.times import SECOND, parse_timestamp

_SOURCE_TAGS = {"telegraf": ("host", "device", "dev", "id"), "influx": ("device", "dev", "id", "host")}

# Possessive throughout: a token is read once, whatever follows. A backslash before anything else is itself.
_MEASUREMENT = re.compile(r"(?:\\[, ]|[^, \n])++")
_TAG = re.compile(r",((?:\\[,= ]|[^,= \n])++)=((?:\\[,= ]|[^,= \n])++)")
_FIELD = re.compile(r'((?:\\[,= ]|[^,= \n])++)=("(?:\\.|[^"\\])*+"|[^", \n]++)', re.DOTALL)
_SPACES = re.compile(r" ++")
_END = re.compile(r"(?: ++([^ \n]++))? *+(?:\n|\Z)")
_REST_OF_LINE = re.compile(r"[^\n]*+\n?")
_ESCAPED = re.compile(r"\\([,= ])")
_ESCAPED_IN_MEASUREMENT = re.compile(r"\\([, ])")

_NUMBER = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_INTEGER = re.compile(r"([+-]?)[0-9]{1,20}([iu])")
_TIME = re.compile(r"-?[0-9]{1,19}")
_BOOLEANS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1.0),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), 0.0),
}
_SMALLEST = {"i": -(2**63), "u": 0}
_LARGEST = {"i": 2**63 - 1, "u": 2**64 - 1}
_A_LINE = "measurement[,tag=value…] field=value[,field=value…] [time]"
_A_VALUE = 'a number, an integer with i or u, true, false, or a "string"'


class _Malformed(Exception):  # noqa: N818  # not an error of ours: one line is none
    def __init__(self, found: str, valid: str = _A_LINE, reason: Reason = Reason.UNDECODABLE) -> None:
        super().__init__(found)
        self.found, self.valid, self.reason = found, valid, reason


def decode(incoming: Incoming, _memory: None) -> Parsed:
    """Return what the lines say, each refused on its own; paths are of line and field."""
    try:
        text = incoming.payload.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        return refuse(Reason.UNDECODABLE, "", "bytes that are not UTF-8", _A_LINE)
    gathering = Gathering(incoming)
    root, _, rest = incoming.topic.partition("/")
    reader = _Reader(root, rest.partition("/")[0], gathering)
    place = number = 0
    while place < len(text):
        try:
            end = reader.line(text, place, number)
        except _Malformed as fault:
            gathering.refuse(fault.reason, (number,), fault.found, fault.valid)
            end = _end_of_line(text, place)
        number += text.count("\n", place, end)
        place = end
    return gathering.parsed


class _Reader:
    """Reads lines of one topic into what is gathered."""

    def __init__(self, root: str, level: str, gathering: Gathering) -> None:
        self._tags_in_order = _SOURCE_TAGS.get(root, _SOURCE_TAGS["influx"])
        self._are_tags_named = root == "telegraf"
        self._level = level
        self._gathering = gathering

    def line(self, text: str, place: int, number: int) -> int:
        """Read the line at a place; return where the next begins. Raises _Malformed if it is none."""
        if spaces := _SPACES.match(text, place):
            place = spaces.end()
        if place >= len(text) or text[place] in "#\n":
            return _end_of_line(text, place)
        measurement = _MEASUREMENT.match(text, place)
        if measurement is None:
            raise _Malformed(_cut(text, place))
        tags, place = _tags(text, measurement.end())
        fields, place = _fields(text, place)
        end = _END.match(text, place)
        if end is None:
            raise _Malformed(_cut(text, place))
        time = _time(end[1])
        source, tag = self._source(tags)
        prefix = self._prefix(_ESCAPED_IN_MEASUREMENT.sub(r"\1", measurement[0]), tags, tag)
        for field, literal in fields:
            self._add(source, time, prefix + field, literal, (number, field))
        return end.end()

    def _source(self, tags: dict[str, str]) -> tuple[str, str]:
        """Return the source and the tag that says it, empty where the topic does."""
        tag = next((tag for tag in self._tags_in_order if tag in tags), "")
        source = tags[tag] if tag else self._level
        if not source:
            raise _Malformed(
                "no tag host, device, dev or id",
                "one of these, or a topic influx/{device}",
                Reason.UNKNOWN_DEVICE,
            )
        if len(source) > LONGEST_NAME:
            raise _Malformed(shown(source), f"at most {LONGEST_NAME} characters")
        return source, tag

    def _prefix(self, measurement: str, tags: dict[str, str], source_tag: str) -> str:
        named = (
            [value for tag, value in sorted(tags.items()) if tag != source_tag]
            if self._are_tags_named
            else []
        )
        return ".".join((measurement, *named, ""))

    def _add(self, source: str, time: float, field: str, literal: str, steps: Steps) -> None:
        if len(field) > LONGEST_NAME:
            valid = f"at most {LONGEST_NAME} characters of measurement, tags and field"
            self._gathering.refuse(Reason.UNDECODABLE, steps[:1], shown(field), valid)
            return
        try:
            value = _value(literal)
        except _Malformed as fault:
            self._gathering.refuse(fault.reason, steps, fault.found, fault.valid)
            return
        if value is not None:
            self._gathering.add(source, time, field, value, steps)


def _tags(text: str, place: int) -> tuple[dict[str, str], int]:
    tags = {}
    while place < len(text) and text[place] == ",":
        tag = _TAG.match(text, place)
        if tag is None:
            raise _Malformed(_cut(text, place), f"tag=value; {_A_LINE}")
        tags[_unescaped(tag[1])] = _unescaped(tag[2])
        place = tag.end()
    return tags, place


def _fields(text: str, place: int) -> tuple[list[tuple[str, str]], int]:
    fields: list[tuple[str, str]] = []
    start = _SPACES.match(text, place)
    if start is None:
        raise _Malformed(_cut(text, place))
    place = start.end()
    while True:
        field = _FIELD.match(text, place)
        if field is None:
            raise _Malformed(_cut(text, place), f"field=value; {_A_LINE}")
        fields.append((_unescaped(field[1]), field[2]))
        place = field.end()
        if place >= len(text) or text[place] != ",":
            return fields, place
        place += 1


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def _value(literal: str) -> float | None:
    """Return the number that a literal says, None for a string."""
    if literal[0] == '"':
        return None
    if literal in _BOOLEANS:
        return _BOOLEANS[literal]
    if _NUMBER.fullmatch(literal):
        return float(literal)
    integer = _INTEGER.fullmatch(literal)
    if integer is None:
        raise _Malformed(shown(literal), _A_VALUE, Reason.WRONG_TYPE)
    whole, kind = int(literal[:-1]), integer[2]
    if not _SMALLEST[kind] <= whole <= _LARGEST[kind]:
        raise _Malformed(shown(literal), "an integer of 64 bits", Reason.OUT_OF_RANGE)
    return float(whole)


def _time(stamp: str | None) -> float:
    """Return Unix seconds of a time in s, ms, µs or ns, which its size tells; NaN without one."""
    if stamp is None:
        return math.nan
    time = parse_timestamp(int(stamp)) / SECOND if _TIME.fullmatch(stamp) else math.inf
    if abs(time) >= SECONDS_BELOW:
        raise _Malformed(
            shown(stamp), "Unix nanoseconds, such as 1767225600000000000", Reason.TIME_UNREADABLE
        )
    return time


def _end_of_line(text: str, place: int) -> int:
    rest = _REST_OF_LINE.match(text, place)
    return rest.end() if rest else len(text)


def _cut(text: str, place: int) -> str:
    """Return what stands where something else was expected."""
    line = text[place : place + 60].partition("\n")[0]
    return shown(line) if line else "the end of the line"


FORMAT = Format(
    "influx", "InfluxDB line protocol (Telegraf)", ("telegraf/#", "influx/#"), decode, is_own=True, mixes=True
)
