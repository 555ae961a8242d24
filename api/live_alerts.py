"""Which alerts changed since they were last told."""

from __future__ import annotations

import datetime as dt

from api.live_picture import News
from sensors.catalogue import Catalogue
from storage.alert_shape import alert_shape
from storage.alerts import AlertFilter, StoredAlert, list_alerts
from storage.kinds import Connection

# A change is dated when it is made and seen when it is committed; and clocks of two machines are not quite the same.
_OVERLAP = dt.timedelta(minutes=2)
_PAGE = 1000


class AlertWatch:
    """Remembers what it told of the last minutes."""

    def __init__(self) -> None:
        self._told: dict[int, StoredAlert] = {}

    async def read(self, connection: Connection, since: dt.datetime) -> list[StoredAlert]:
        """Return the alerts that changed after ``since``, and perhaps some minutes before."""
        found: list[StoredAlert] = []
        while True:
            before = found[-1].id if found else None
            page = await list_alerts(
                connection, AlertFilter(), before=before, changed_since=since - _OVERLAP, limit=_PAGE
            )
            found += page
            if len(page) < _PAGE:
                return found

    def take(self, alerts: list[StoredAlert], catalogue: Catalogue, since: dt.datetime | None) -> list[News]:
        """Return the news of what was read; with ``since``, of what changed after that alone."""
        new = [
            alert
            for alert in alerts
            if self._told.get(alert.id) != alert and (since is None or alert.changed_at >= since)
        ]
        self._told = {alert.id: alert for alert in alerts}
        new.sort(key=lambda alert: alert.changed_at)
        return [
            News((alert.kind, alert.district), alert.device, alert_shape(alert, catalogue)) for alert in new
        ]
