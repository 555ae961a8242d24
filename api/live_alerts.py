"""Which alerts changed since they were last told."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping

from api.live_picture import News
from sensors.catalogue import Catalogue
from storage.alert_shape import alert_shape
from storage.alerts import StoredAlert, find_alerts, list_said
from storage.kinds import Connection

# What is said is dated when it is made and seen when it is committed; clocks of two machines are not quite the same.
_OVERLAP = dt.timedelta(minutes=2)


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """When the alerts of the last minutes were last said anew, and those of them that were not told so."""

    times: Mapping[int, dt.datetime]
    alerts: Mapping[int, StoredAlert]


class AlertWatch:
    """Remembers which it told of the last minutes: only of others a look reads more than the time."""

    def __init__(self) -> None:
        self._told: Mapping[int, dt.datetime] = {}

    async def read(self, connection: Connection, since: dt.datetime) -> Said:
        """Return what was said after ``since``, and perhaps some minutes before. Within one snapshot."""
        times = await list_said(connection, since - _OVERLAP)
        news = [number for number, time in times.items() if self._told.get(number) != time]
        return Said(times, await find_alerts(connection, news) if news else {})

    def take(self, said: Said, catalogue: Catalogue, since: dt.datetime | None) -> list[News]:
        """Return the news of what was read, in order; with ``since``, of what was said after that alone."""
        self._told = said.times
        new = [one for one in said.alerts.values() if since is None or said.times[one.id] >= since]
        new.sort(key=lambda alert: said.times[alert.id])
        return [
            News((alert.kind, alert.district), alert.device, alert_shape(alert, catalogue)) for alert in new
        ]
