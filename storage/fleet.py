"""The fleet as an operator looks at it: what each device is doing, the worst first."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import Literal, NamedTuple

from storage.device_status import IS_GONE, OFFLINE
from storage.kinds import Connection
from storage.selection import Selection, condition


class State(enum.StrEnum):
    """What a device is doing."""

    REPORTING = "reporting"
    SILENT = "silent"  # its newest reading is stale, or it said afterwards that it is offline
    NEVER = "never"  # it has had no reading yet
    DISABLED = "disabled"


class Sort(enum.StrEnum):
    """The order of a list of devices."""

    WORST = "worst"
    ID = "id"


class Patience(NamedTuple):
    """Which readings are stale: those older than so many of the device's intervals, and than so many seconds."""

    intervals: float
    seconds: float


class Place(NamedTuple):
    """Where a page ended, by the badness that was computed ``as_of`` a moment."""

    badness: int
    device: str


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What to look at: devices, those whose id has ``text`` in it, in any case, and that are in one of ``states``."""

    selection: Selection
    text: str = ""
    states: tuple[State, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class FleetColumns:
    """Devices in the order of their ids, column by column, as a map shows them; ``time`` is of the newest reading."""

    device: list[str]
    kind: list[str]
    district: list[str]
    longitude: list[float | None]
    latitude: list[float | None]
    state: list[State]
    time: list[dt.datetime | None]


class FleetDevice(NamedTuple):
    """A device and what it is doing; ``badness`` is its place in the order of the worst.

    ``alerts`` are open and not pending, ``severity`` is the worst of theirs.
    """

    device: str
    kind: str
    district: str
    position: tuple[float, float] | None
    simulated: bool
    interval_seconds: float
    state: State
    time: dt.datetime | None
    received_at: dt.datetime | None
    alerts: int
    severity: Literal["info", "warning", "critical"] | None
    badness: int


# A disabled device is nobody's trouble. How bad its worst alert is counts first; then how far a silent one is behind,
# in thousandths of its interval, so that meters of an hour and sensors of a second are compared fairly.
_SILENT_MOST = 10**12
_SEVERITY = 10**13
_NAMES: tuple[Literal["info", "warning", "critical"], ...] = ("info", "warning", "critical")
_SEVERITIES = f"ARRAY{list(_NAMES)}"


def _looked_at(look: Look, as_of: dt.datetime, patience: Patience) -> tuple[str, list[object]]:
    """Return a common table expression ``fleet`` and the values of its parameters, $1 and on."""
    selected, arguments = condition(look.selection, 6)
    age = "date_part('epoch', $1::timestamptz - l.time)"
    query = f"""
        WITH known AS (
            SELECT device.id, device.kind, device.district, longitude, latitude, simulated, interval_seconds,
                   l.time, l.received_at, coalesce(a.alerts, 0) AS alerts, a.severity,
                   CASE WHEN disabled_at IS NOT NULL THEN '{State.DISABLED}'
                        WHEN l.time IS NULL THEN '{State.NEVER}'
                        WHEN {age} > greatest($2::float8 * interval_seconds, $3::float8) OR {IS_GONE}
                            THEN '{State.SILENT}'
                        ELSE '{State.REPORTING}' END AS state,
                   greatest(0, least({age} / interval_seconds * 1000, {_SILENT_MOST}))::bigint AS behind
            FROM alatau.device
            LEFT JOIN alatau.latest l USING (device_id)
            {OFFLINE}
            LEFT JOIN (SELECT device_id, count(*) AS alerts, max(array_position({_SEVERITIES}, severity)) AS severity
                       FROM alatau.alert WHERE state IN ('firing', 'acknowledged') GROUP BY device_id) a
                USING (device_id)
            WHERE {selected} AND ($4::text = '' OR position(lower($4) IN lower(device.id)) > 0)
        ), fleet AS (
            SELECT *, CASE WHEN state = '{State.DISABLED}' THEN -1 ELSE
                          coalesce(severity, 0) * {_SEVERITY} + CASE state
                              WHEN '{State.REPORTING}' THEN 0 WHEN '{State.NEVER}' THEN {_SILENT_MOST} ELSE behind END
                      END AS badness
            FROM known WHERE cardinality($5::text[]) = 0 OR state = ANY($5::text[])
        )
    """
    states = [state.value for state in look.states]
    return query, [as_of, patience.intervals, patience.seconds, look.text, states, *arguments]


async def list_fleet(
    connection: Connection,
    look: Look,
    as_of: dt.datetime,
    patience: Patience,
    *,
    sort: Sort = Sort.WORST,
    after: Place | None = None,
    limit: int = 100,
) -> list[FleetDevice]:
    """Return devices in the order asked for, beginning after a place: a keyset, never an offset.

    The next page is of the same ``as_of``, so that nobody moves over the end of a page while time goes on.
    """
    query, arguments = _looked_at(look, as_of, patience)
    badness, device, most = (f"${len(arguments) + place}" for place in (1, 2, 3))
    begin = f"id > {device}::text"
    order = "id"
    if sort is Sort.WORST:
        begin = f"(badness < {badness}::bigint OR (badness = {badness}::bigint AND {begin}))"
        order = "badness DESC, id"
    rows = await connection.fetch(
        f"{query} SELECT * FROM fleet WHERE {badness}::bigint IS NULL OR {begin} ORDER BY {order} LIMIT {most}",
        *arguments,
        None if after is None else after.badness,
        "" if after is None else after.device,
        limit,
    )
    return [
        FleetDevice(
            device=row["id"],
            kind=row["kind"],
            district=row["district"],
            position=None if row["longitude"] is None else (row["longitude"], row["latitude"]),
            simulated=row["simulated"],
            interval_seconds=row["interval_seconds"],
            state=State(row["state"]),
            time=row["time"],
            received_at=row["received_at"],
            alerts=row["alerts"],
            severity=None if row["severity"] is None else _NAMES[row["severity"] - 1],
            badness=row["badness"],
        )
        for row in rows
    ]


async def count_fleet(
    connection: Connection, look: Look, as_of: dt.datetime, patience: Patience
) -> dict[State, int]:
    """Return how many of the devices are in each state, whichever states were asked for."""
    query, arguments = _looked_at(dataclasses.replace(look, states=()), as_of, patience)
    rows = await connection.fetch(f"{query} SELECT state, count(*) FROM fleet GROUP BY state", *arguments)
    return dict.fromkeys(State, 0) | {State(state): count for state, count in rows}


async def count_fleet_by_district(
    connection: Connection, as_of: dt.datetime, patience: Patience
) -> dict[str, dict[State, int]]:
    """Return how many devices of each district are in each state; a district without devices is left out."""
    query, arguments = _looked_at(Look(Selection()), as_of, patience)
    rows = await connection.fetch(
        f"{query} SELECT district, state, count(*) FROM fleet GROUP BY district, state", *arguments
    )
    counts: dict[str, dict[State, int]] = {}
    for district, state, count in rows:
        counts.setdefault(district, dict.fromkeys(State, 0))[State(state)] = count
    return counts


async def read_fleet(
    connection: Connection, as_of: dt.datetime, patience: Patience, *, after: str = "", limit: int
) -> FleetColumns:
    """Return the devices whose ids come after one, in their order."""
    query, arguments = _looked_at(Look(Selection()), as_of, patience)
    begin, most = f"${len(arguments) + 1}", f"${len(arguments) + 2}"
    rows = await connection.fetch(
        f"""
        {query} SELECT id, kind, district, longitude, latitude, state, time FROM fleet
        WHERE id > {begin}::text ORDER BY id LIMIT {most}
        """,
        *arguments,
        after,
        limit,
    )
    device, kind, district, longitude, latitude, state, time = zip(*rows, strict=True) if rows else [()] * 7
    return FleetColumns(
        list(device),
        list(kind),
        list(district),
        list(longitude),
        list(latitude),
        [State(one) for one in state],
        list(time),
    )
