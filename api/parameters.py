"""Reading a request's parameters: times, lists, names that must be known."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Collection, Iterable, Sequence

from pydantic import BaseModel

from api.formats import Format
from api.problems import ProblemError, ProblemType, invalid_parameter, unknown_value
from sensors.errors import nearest
from sensors.times import format_timestamp, parse_duration, parse_timestamp, to_microseconds
from sensors.topics import DEVICE_ID
from storage.device_search import missing_devices, neighbours
from storage.kinds import Connection

# Far beyond any reading, and well within what calendars and the database can count.
EARLIEST = to_microseconds(dt.datetime(1900, 1, 1, tzinfo=dt.UTC))
LATEST = to_microseconds(dt.datetime(2200, 1, 1, tzinfo=dt.UTC))
# A + that nobody encoded arrives as a space.
_UNENCODED_OFFSET = re.compile(r"(.*\d) (\d\d:?\d\d)")


def split_list(values: Iterable[str] | None) -> tuple[str, ...]:
    """Return the distinct values of a parameter that may be repeated, separated by commas, or both."""
    parts = (part.strip() for value in values or () for part in value.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def require_known(name: str, values: Iterable[str], valid: Collection[str]) -> None:
    """Refuse values that are none of the valid ones, naming the nearest."""
    for value in values:
        if value not in valid:
            raise unknown_value(name, value, valid)


def parse_moment(name: str, text: str, now: int) -> int:
    """Return Unix µs of an RFC 3339 time with zone, ``now``, or a duration from now such as -PT6H."""
    try:
        moment = _parse_moment(_UNENCODED_OFFSET.sub(r"\1+\2", text), now)
    except (ValueError, OverflowError) as error:
        raise invalid_parameter(name, f"{error}; or -PT6H for six hours ago, or now") from None
    if not EARLIEST <= moment < LATEST:
        raise invalid_parameter(name, f"{text[:40]} is not between the years 1900 and 2200")
    return moment


def _parse_moment(text: str, now: int) -> int:
    if text == "now":
        return now
    return now + parse_duration(text) if text.startswith(("P", "-P")) else parse_timestamp(text)


def parse_range(start: str, end: str, now: int) -> tuple[int, int]:
    """Return the half-open range of ``start`` and ``end`` in Unix µs."""
    range_ = parse_moment("start", start, now), parse_moment("end", end, now)
    if range_[0] >= range_[1]:
        shown = " is not before end ".join(map(format_timestamp, range_))
        raise invalid_parameter("start", f"{shown}; start is part of the range, end is not")
    return range_


def parse_zone(name: str, text: str) -> zoneinfo.ZoneInfo:
    """Return the IANA zone of a name."""
    try:
        return zoneinfo.ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        # People write zones in any case, and the nearest in another case is far away.
        zones = {zone.lower(): zone for zone in zoneinfo.available_timezones()}
        near = [zones[zone] for zone in nearest(text, zones)]
        hint = f'did you mean "{near[0]}"?' if near else "write one such as Asia/Almaty"
        raise invalid_parameter(
            name, f'"{text[:80]}" is not an IANA time zone; {hint}', nearest=near[0] if near else None
        ) from None


def refuse_paging(query: BaseModel, format_: Format) -> None:
    """Refuse the parameters of pages where the answer has none."""
    for name in ("cursor", "limit"):
        if name in query.model_fields_set:
            raise invalid_parameter(
                name, f"{format_.value} has no pages; leave {name} out, or ask for format=json"
            )


async def require_devices(connection: Connection, devices: Sequence[str]) -> None:
    """Refuse ids that no device has, naming the nearest."""
    require_device_ids(devices)
    if devices and (missing := await missing_devices(connection, devices)):
        near = nearest(missing[0], await neighbours(connection, missing[0]))
        raise invalid_parameter("device", _no_such(missing[0], near), nearest=near[0] if near else None)


def require_device_ids(devices: Sequence[str]) -> None:
    """Refuse what no device can have as its id; whether one has it is asked of the database."""
    for device in devices:
        if not DEVICE_ID.fullmatch(device):
            raise invalid_parameter("device", _no_such(device, []))


async def no_such_device(connection: Connection, device: str) -> ProblemError:
    """Return the problem of a path that names a device there is not."""
    near = nearest(device, await neighbours(connection, device)) if DEVICE_ID.fullmatch(device) else []
    return ProblemError(ProblemType.NOT_FOUND, _no_such(device, near), nearest=near[0] if near else None)


def _no_such(device: str, near: Sequence[str]) -> str:
    hint = f'did you mean "{near[0]}"?' if near else "GET /api/v1/devices lists them"
    return f'no device has the id "{device[:80]}"; {hint}'
