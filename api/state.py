"""The state of the city in a few numbers: what its page says first, and where its devices are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api, Asking
from api.contract import PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.fleet import PATIENCE
from api.kept import Kept
from api.keys import Caller
from api.members import ANSWER, Moment, Next
from api.pulse import Pulse, arrivals
from api.responses import answer, next_page
from api.services import Services, Whole
from api.state_shape import Findings, StateAnswer, shape_state
from sensors.air_index import AirIndex, air_index
from sensors.times import to_microseconds
from storage.air import read_hours
from storage.alerts import count_open_alerts
from storage.fleet import State, count_fleet_by_district, read_fleet
from storage.kinds import Connection

router = APIRouter(prefix=f"{PREFIX}/state", tags=["state"])

_SCOPE = "state devices"


class StateKeeper:
    """What the answers of one process share: many pages ask for the same every few seconds."""

    def __init__(self, seconds: float, air_seconds: float) -> None:
        self._found: Kept[Findings] = Kept(seconds)
        self._air: Kept[Mapping[str, AirIndex]] = Kept(air_seconds)
        self._pulse = Pulse()

    async def find(self, whole: Services, api: Services, caller: Caller) -> Findings:
        """Return the state as the caller sees it."""
        scope = (caller.scope.districts, caller.scope.kinds)
        return await self._found.get(scope, lambda: self._read(whole, api, scope))

    async def _read(self, whole: Services, api: Services, scope: object) -> Findings:
        moment = api.clock()
        async with whole.database.connection() as connection:
            rates = await self._pulse.beat(connection, moment)
        async with api.database.connection() as connection:
            air = await self._air.get(scope, lambda: _air(connection, api, moment))
            return Findings(
                moment,
                await count_fleet_by_district(connection, moment, PATIENCE),
                await count_open_alerts(connection),
                air,
                rates,
                await arrivals(connection, moment, PATIENCE),
            )


async def _air(connection: Connection, api: Services, moment: dt.datetime) -> Mapping[str, AirIndex]:
    hours = await read_hours(connection, api.catalogue, to_microseconds(moment))
    found = {district: air_index(of_district) for district, of_district in hours.items()}
    return {district: index for district, index in found.items() if index is not None}


@router.get("", response_model=StateAnswer)
async def get_state(request: Request, api: Api, whole: Whole, caller: Asking) -> Response:
    """Tell how the city is, in a few numbers. They hold for about two seconds, the air for a quarter of a minute."""
    keeper: StateKeeper = request.app.state.keeper
    found = await keeper.find(whole, api, caller)
    return answer(shape_state(found, api.catalogue, caller.scope.districts))


class PlacesQuery(BaseModel):
    """Which page."""

    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(10_000, ge=1, le=20_000)


@with_config(ANSWER)
class DevicePlaces(TypedDict):
    """Devices in the order of their ids, column by column: each list has one member for each of them."""

    time: Annotated[Moment, Field(description="As of when, UTC.")]
    device: Annotated[list[str], Field(description="Ids.", examples=[["sample-air-1"]])]
    kind: Annotated[list[str], Field(description="Their kinds.", examples=[["air_quality"]])]
    district: Annotated[list[str], Field(description="Where they belong.", examples=[["gate"]])]
    longitude: Annotated[
        list[float | None], Field(description="Degrees, WGS 84.", json_schema_extra={"examples": [[77.0]]})
    ]
    latitude: Annotated[
        list[float | None], Field(description="Degrees, WGS 84.", json_schema_extra={"examples": [[43.48]]})
    ]
    state: Annotated[list[State], Field(description="What each is doing.", examples=[["reporting"]])]
    reading_time: Annotated[
        list[dt.datetime | None], Field(description="Of the newest reading, UTC; null without one.")
    ]
    next: Next


@router.get("/devices", response_model=DevicePlaces)
async def get_places(request: Request, api: Api, query: Annotated[PlacesQuery, Query()]) -> Response:
    """Tell where every device is and what it is doing, as short as a map needs it."""
    after = decode_cursor(query.cursor, _SCOPE, str)[0] if query.cursor else ""
    moment = api.clock()
    async with api.database.connection() as connection:
        found = await read_fleet(connection, moment, PATIENCE, after=after, limit=query.limit)
    is_full = len(found.device) == query.limit
    cursor = encode_cursor(_SCOPE, found.device[-1]) if is_full else None
    content: DevicePlaces = {
        "time": moment,
        "device": found.device,
        "kind": found.kind,
        "district": found.district,
        "longitude": found.longitude,
        "latitude": found.latitude,
        "state": found.state,
        "reading_time": found.time,
        "next": cursor,
    }
    return answer(content, headers=next_page(request, cursor))
