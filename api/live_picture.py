"""The city as it was last seen: what in a change is new, and which devices fall silent or come back.

A machine without clock, event loop or I/O; times are Unix µs.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from api.latest_shape import stale_after
from sensors.catalogue import Catalogue
from sensors.kinds import Kind
from sensors.statuses import Said, is_gone
from sensors.times import SECOND, from_microseconds, to_microseconds
from storage.device_status import StatusChange
from storage.latest_changes import NEVER, Change

# Where something is: what filters and scopes go by first.
Place = tuple[str | None, str | None]  # kind, district; None of what is of no single one


@dataclasses.dataclass(frozen=True, slots=True)
class News:
    """Something of a device, as it is told; ``changed`` is the number of the transaction that it came with."""

    place: Place
    device: str | None
    content: Mapping[str, Any]
    changed: int = 0


@dataclasses.dataclass(slots=True)
class _Known:
    place: Place
    times: tuple[int, ...]
    values: tuple[float, ...]
    heard: int  # when its newest reading was measured, or had arrived
    due: int  # silent from then on
    is_online: bool
    is_waited_for: bool = False


class Picture:
    """What is known of each device that ever sent something."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._offline: dict[str, int] = {}  # since when, of those that said so last
        # Of each device that is online at most one entry; it may have been heard since.
        self._waiting: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._known)

    def take(self, change: Change, catalogue: Catalogue, now: int) -> tuple[list[News], News | None]:
        """Return the readings that a change brought, one for each time, and whether its device came back by it.

        Of a device that was not known all of its newest time is new. A kind that the catalogue has not yet brings
        nothing, and is known from its next change on.
        """
        kind = catalogue.kind_of.get(change.kind)
        if kind is None:
            return [], None
        place, known = (change.kind, change.district), self._known.get(change.device)
        readings = [
            News(place, change.device, _reading(change, time, values), change.changed)
            for time, values in sorted(_new_values(kind, change, known).items())
        ]
        newest = to_microseconds(change.time)
        heard = min(newest, to_microseconds(change.received_at))
        due = newest + round(stale_after(change.interval_seconds) * SECOND)
        was_online = known is not None and known.is_online
        if known is None:
            known = self._known[change.device] = _Known(place, (), (), heard, due, is_online=False)
        # Of a metric that the catalogue has not yet nothing was told.
        known.place, size = place, len(kind.columns)
        known.times, known.values = change.times[:size], change.values[:size]
        # Who was online and is late already is found with the others that fall silent.
        known.heard, known.due = heard, due
        known.is_online = (was_online or now <= due) and self._offline_since(change.device, known) is None
        self._wait_for(change.device, known)
        if known.is_online and not was_online:
            return readings, _status(place, change.device, "online", newest)
        return readings, None

    def expect(self, statuses: Iterable[StatusChange]) -> None:
        """Take devices for offline of which ``hear`` is told next what they said: for a beginning, when what came
        before it is not known."""
        self._offline |= {status.device: status.at for status in statuses}

    def hear(self, status: StatusChange, now: int) -> News | None:
        """Take what a device said last, itself or by its last will, and return whether it came or went by that.

        Of one that never sent anything nothing is told.
        """
        if status.said is Said.OFFLINE:
            self._offline[status.device] = status.at
        else:
            self._offline.pop(status.device, None)
        if (known := self._known.get(status.device)) is None:
            return None
        known.place, was_online = (status.kind, status.district), known.is_online
        is_offline = self._offline_since(status.device, known) is not None
        # Who is late already is found with the others that fall silent.
        known.is_online = not is_offline and (was_online or now <= known.due)
        self._wait_for(status.device, known)
        if known.is_online == was_online:
            return None
        said = "online" if known.is_online else "offline"
        return _status(known.place, status.device, said, status.at, status.changed)

    def _offline_since(self, device: str, known: _Known) -> int | None:
        at = self._offline.get(device)
        return at if at is not None and is_gone(at, known.heard) else None

    def _wait_for(self, device: str, known: _Known) -> None:
        if known.is_online and not known.is_waited_for:
            known.is_waited_for = True
            heapq.heappush(self._waiting, (known.due, device))

    def overdue(self, now: int) -> list[str]:
        """Return the devices from which nothing has come for too long, and that were not told to be silent."""
        found: dict[str, _Known] = {}
        while self._waiting and self._waiting[0][0] < now:
            _, device = heapq.heappop(self._waiting)
            if (known := self._known.get(device)) is None:
                continue
            known.is_waited_for = known.is_online
            if not known.is_online:
                continue
            if known.due < now:
                found[device] = known
            else:
                heapq.heappush(self._waiting, (known.due, device))
        for device, known in found.items():
            heapq.heappush(self._waiting, (known.due, device))
        return list(found)

    def silence(self, device: str, place: Place | None, now: int) -> News | None:
        """Return that an overdue device is silent, unless it was heard or went meanwhile, or there is none any more."""
        known = self._known[device]
        if known.due >= now or not known.is_online:
            return None
        known.is_online = False
        if place is None:
            del self._known[device]
            return None
        known.place = place
        return _status(place, device, "offline", known.due)

    def fell_silent_since(self, since: int) -> Iterator[News]:
        """Give the devices that are silent and were not at a time."""
        for device, known in self._known.items():
            at = self._offline_since(device, known)
            silent = known.due if at is None else min(at, known.due)
            if not known.is_online and silent >= since:
                yield _status(known.place, device, "offline", silent)


def _new_values(kind: Kind, change: Change, known: _Known | None) -> dict[int, dict[str, float]]:
    """Return by time what a change has that was not known: also what was corrected, of the same time."""
    found: dict[int, dict[str, float]] = {}
    # Each may be shorter: where a metric came to the kind later.
    now = zip(kind.columns, change.times, change.values, strict=False)
    newest = to_microseconds(change.time)
    for place, (metric, time, value) in enumerate(now):
        if known is None:
            is_new = time == newest
        elif place < len(known.times):
            is_new = time != known.times[place] or value != known.values[place]
        else:
            is_new = True
        if is_new and time != NEVER:
            found.setdefault(time, {})[metric] = value
    return found


def _reading(change: Change, time: int, values: dict[str, float]) -> dict[str, Any]:
    return {
        "device": change.device,
        "kind": change.kind,
        "district": change.district,
        "time": from_microseconds(time),
        "received_at": change.received_at,
        "values": values,
    }


def _status(place: Place, device: str, status: str, since: int, changed: int = 0) -> News:
    kind, district = place
    content = {
        "device": device,
        "kind": kind,
        "district": district,
        "status": status,
        "time": from_microseconds(since),
    }
    return News(place, device, content, changed)
