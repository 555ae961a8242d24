"""The city's state as it is answered: counts, the air, and what is worst in each district."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, with_config
from typing_extensions import TypedDict

from api.members import ANSWER, Count, DistrictName, MetricName, Moment, Seconds, Title, Zone
from api.pulse import Rates
from sensors.air_index import DATE, NAME, SOURCE, AirIndex, Category, level_of
from sensors.catalogue import Catalogue
from storage.alerts import AlertState, Severity
from storage.fleet import State
from storage.pulse import Arrivals

# From which share of silent devices on a district is that bad, from level 1 on.
_SILENT_SHARES = (0.02, 0.1, 0.3, 0.6)
_LEVEL_OF = {Severity.INFO: 1, Severity.WARNING: 2, Severity.CRITICAL: 3}

Level = Annotated[int, Field(ge=0, le=5, description="How bad, from 0, good, to 5.", examples=[3])]


class _Devices(TypedDict):
    expected: Annotated[Count, Field(description="Devices that are not disabled.", examples=[1204])]
    silent: Annotated[
        Count,
        Field(
            description="Of these, those whose newest reading is older than three intervals and than a minute, "
            "or that never sent one.",
            examples=[41],
        ),
    ]
    disabled: Annotated[Count, Field(description="Devices that are let in no more.", examples=[0])]


@with_config(ANSWER)
class DeviceCounts(_Devices):
    """How many devices there are, and how many say nothing."""


@with_config(ANSWER)
class AlertCounts(TypedDict):
    """Alerts that are open, by severity; those that were acknowledged are not among them, but counted apart."""

    critical: Annotated[Count, Field(description="Firing.")]
    warning: Annotated[Count, Field(description="Firing.")]
    info: Annotated[Count, Field(description="Firing.")]
    acknowledged: Annotated[Count, Field(description="Somebody looks after them.")]


@with_config(ANSWER)
class Air(TypedDict):
    """The air of a district as an index, by its worst pollutant."""

    index: Annotated[int, Field(description="0 to 500, or more beyond the table.", examples=[152])]
    category: Annotated[Category, Field(description="What the index is called.", examples=["unhealthy"])]
    level: Level
    metric: MetricName


@with_config(ANSWER)
class Worst(TypedDict):
    """What is worst in a district."""

    cause: Annotated[
        Literal["air", "alerts", "silence"] | None,
        Field(description="What makes it so; null: nothing is known to be bad."),
    ]
    level: Level


@with_config(ANSWER)
class DistrictState(TypedDict):
    """The state of a district."""

    district: DistrictName
    title: Title
    devices: DeviceCounts
    alerts: AlertCounts
    air: Annotated[Air | None, Field(description="null: no pollutant has enough hours.")]
    worst: Worst


@with_config(ANSWER)
class IngestState(TypedDict):
    """What comes in; rates are of the last minute, of the whole city, and null of a process that was not yet asked."""

    readings_per_second: Annotated[
        float | None, Field(description="Readings stored.", json_schema_extra={"examples": [20.3]})
    ]
    refused_per_minute: Annotated[
        float | None, Field(description="Messages refused.", json_schema_extra={"examples": [1.5]})
    ]
    lag_p95_seconds: Annotated[
        Seconds | None,
        Field(
            description="95th percentile, s, of arrival less own time of the devices' newest readings, but for those "
            "that were stale when they came: these are backfill."
        ),
    ]
    last_received_at: Annotated[Moment | None, Field(description="Of the newest arrival, UTC.")]


@with_config(ANSWER)
class IndexTable(TypedDict):
    """By which table the index of the air is made."""

    name: Annotated[str, Field(description="What it is called.", examples=[NAME])]
    source: Annotated[str, Field(description="Where it stands.", examples=[SOURCE])]
    date: Annotated[str, Field(description="Since when it holds.", examples=[DATE])]


@with_config(ANSWER)
class StateAnswer(TypedDict):
    """The state of what the caller sees of the city."""

    time: Annotated[Moment, Field(description="As of when, UTC.")]
    city: Title
    tz: Zone
    devices: DeviceCounts
    alerts: AlertCounts
    air: IndexTable
    ingest: IngestState
    districts: list[DistrictState]


@dataclasses.dataclass(frozen=True, slots=True)
class Findings:
    """What was read of the database at a moment, within a scope."""

    moment: dt.datetime
    devices: Mapping[str, Mapping[State, int]]
    alerts: Mapping[tuple[str | None, Severity, AlertState], int]
    air: Mapping[str, AirIndex]
    rates: Rates
    arrivals: Arrivals


def shape_state(found: Findings, catalogue: Catalogue, seen: tuple[str, ...] | None) -> StateAnswer:
    """Return the answer about the districts that are ``seen``, None being all."""
    return {
        "time": found.moment,
        "city": catalogue.city.title,
        "tz": catalogue.city.timezone,
        "devices": _devices(*found.devices.values()),
        "alerts": _alerts(found.alerts),
        "air": {"name": NAME, "source": SOURCE, "date": DATE},
        "ingest": {
            "readings_per_second": found.rates.readings_per_second,
            "refused_per_minute": found.rates.refused_per_minute,
            "lag_p95_seconds": found.arrivals.lag_p95,
            "last_received_at": found.arrivals.last,
        },
        "districts": [
            _district(district.name, district.title, found)
            for district in catalogue.districts
            if seen is None or district.name in seen
        ],
    }


def _district(name: str, title: str, found: Findings) -> DistrictState:
    devices = _devices(found.devices.get(name, {}))
    alerts = _alerts({key: count for key, count in found.alerts.items() if key[0] == name})
    index = found.air.get(name)
    air: Air | None = None
    if index is not None:
        air = {
            "index": index.value,
            "category": index.category,
            "level": level_of(index.category),
            "metric": index.metric,
        }
    return {
        "district": name,
        "title": title,
        "devices": devices,
        "alerts": alerts,
        "air": air,
        "worst": _worst(devices, alerts, air),
    }


def _devices(*counts: Mapping[State, int]) -> DeviceCounts:
    total = {state: sum(one.get(state, 0) for one in counts) for state in State}
    silent = total[State.SILENT] + total[State.NEVER]
    return {
        "expected": total[State.REPORTING] + silent,
        "silent": silent,
        "disabled": total[State.DISABLED],
    }


def _alerts(counts: Mapping[tuple[str | None, Severity, AlertState], int]) -> AlertCounts:
    firing = {
        severity: sum(
            n for (_, of, state), n in counts.items() if of is severity and state is AlertState.FIRING
        )
        for severity in Severity
    }
    return {
        "critical": firing[Severity.CRITICAL],
        "warning": firing[Severity.WARNING],
        "info": firing[Severity.INFO],
        "acknowledged": sum(n for (*_, state), n in counts.items() if state is AlertState.ACKNOWLEDGED),
    }


def _worst(devices: DeviceCounts, alerts: AlertCounts, air: Air | None) -> Worst:
    share = devices["silent"] / devices["expected"] if devices["expected"] else 0.0
    firing = {
        Severity.CRITICAL: alerts["critical"],
        Severity.WARNING: alerts["warning"],
        Severity.INFO: alerts["info"],
    }
    levels: list[tuple[Literal["air", "alerts", "silence"], int]] = [
        ("air", air["level"] if air else 0),
        ("alerts", max((_LEVEL_OF[severity] for severity, count in firing.items() if count), default=0)),
        ("silence", sum(share >= least for least in _SILENT_SHARES)),
    ]
    cause, level = max(levels, key=lambda one: one[1])
    return {"cause": cause if level else None, "level": level}
