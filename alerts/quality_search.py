"""The search for changes in what arrives: fed with the buckets that the search for anomalies reads anyhow."""

from __future__ import annotations

import asyncio
import dataclasses

import numpy as np

from alerts.anomaly_findings import Names
from alerts.arrivals import WINDOW, Arrivals, Usual
from alerts.baseline import WEEKS
from alerts.memory import BUCKET, Bools, Bucket
from alerts.neighbours import Ints
from alerts.quality_changes import Change, changes, excused
from sensors.kinds import Kind
from sensors.times import DAY
from storage.anomaly_inputs import Watched
from storage.arrival_inputs import first_letter, read_letters, read_reasons, read_received, read_refused
from storage.columns import places_of
from storage.kinds import Connection

_QUARTERS = WEEKS * 7 * DAY // WINDOW


class QualitySearch:
    """What arrives of the watched devices. Each is counted by one of its series, the one that has most readings."""

    def __init__(self) -> None:
        self._arrivals = Arrivals(np.zeros(0, np.int64), Usual.unknown(0))
        self._ids: tuple[str, ...] = ()
        self._by: Ints = np.zeros(0, np.int64)
        self._letter: int | None = None
        self._refused_at = 0
        self._sure: Bools = np.zeros(0, np.bool_)  # whose loss was counted again

    def arrange(self, watched: Watched) -> None:
        """Keep what is known of devices that go on to be watched."""
        known = {device: place for place, device in enumerate(self._ids)}
        places = np.array([known.get(device, -1) for device in watched.id], np.int64)
        arrivals = Arrivals(watched.interval, Usual.unknown(len(places)))
        arrivals.carry(self._arrivals, places)
        self._sure = np.append(self._sure, False)[places]
        self._arrivals, self._ids = arrivals, watched.id

    def learned(self, usual: Usual, by: Ints) -> None:
        """Hold what comes against this from now on; ``by`` is the series of each device (d,), -1 for none."""
        self._arrivals.usual, self._by = usual, by

    async def learn_refused(self, connection: Connection, watched: Watched, until: int) -> None:
        """Learn once a day how many messages are refused in other weeks."""
        if until - self._refused_at < DAY:
            return
        stop = until // WINDOW * WINDOW
        number, quarter, count = await read_refused(connection, stop - _QUARTERS * WINDOW, stop, WINDOW)
        refused = np.zeros((len(watched.id), _QUARTERS), np.int64)
        place, kept = _places(watched, number)
        np.add.at(refused, (place, quarter[kept]), count[kept])
        await asyncio.to_thread(self._arrivals.learn_refused, refused)
        self._refused_at = until

    async def refused(self, connection: Connection, watched: Watched, start: int, stop: int) -> Ints:
        """Return how many messages of each device were refused in each bucket of a range (buckets, d)."""
        if self._letter is None:
            self._letter = await first_letter(connection, start)
        letters = await read_letters(connection, self._letter, start, stop)
        self._letter = letters.next
        result = np.zeros(((stop - start) // BUCKET, len(watched.id)), np.int64)
        place, kept = _places(watched, letters.device)
        np.add.at(result, ((letters.time[kept] - start) // BUCKET, place), letters.count[kept])
        return result

    def step(self, bucket: Bucket, refused: Ints) -> None:
        """Take the next five minutes."""
        came = np.where(self._by >= 0, np.append(bucket.count, 0)[self._by], 0)
        self._arrivals.step(bucket.start, came, refused)

    async def count_again(self, connection: Connection, watched: Watched, names: Names, until: int) -> None:
        """Forget the loss of devices whose readings have come meanwhile: they were late, not lost."""
        losses = self._arrivals.losses
        self._sure &= losses.is_on
        asked: dict[tuple[str, str], list[int]] = {}
        for place in np.flatnonzero(losses.is_on & ~self._sure & (self._by >= 0)).tolist():
            metric = names.metric[int(self._by[place])].name
            asked.setdefault((names.kind[place].name, metric), []).append(place)
        for (_, metric), places in asked.items():
            kind: Kind = names.kind[places[0]]
            numbers = watched.number[places].tolist()
            since = losses.since[places].tolist()
            received = await read_received(connection, kind, metric, numbers, since, until)
            came = np.array([received.get(number, 0) for number in numbers], np.float64)
            lost = 1 - came / np.maximum(losses.trials[places], 1)
            is_late = np.zeros(len(self._ids), np.bool_)
            is_late[places] = lost < 0.5 * losses.share()[places]
            losses.forget(is_late)
            losses.is_on &= ~is_late
            self._sure[places] = ~is_late[places]

    def excused(self, waited: Ints) -> Bools:
        """Return of which devices (d,) that sent nothing for a time (µs) silence is not what is wrong."""
        return excused(self._arrivals, waited)

    async def changes(
        self, connection: Connection, watched: Watched, names: Names, silent: Bools
    ) -> list[Change]:
        """Return what has changed; ``silent`` (d,) devices say nothing of what is lost."""
        found = changes(self._arrivals, names, silent)
        refused = [one for one in found if one.pattern == "refused" and one.device is not None]
        if not refused:
            return found
        numbers = dict(zip(watched.id, watched.number.tolist(), strict=True))
        asked = [numbers[one.device] for one in refused if one.device is not None]
        reasons = await read_reasons(connection, asked, min(one.since for one in refused))
        return [
            dataclasses.replace(one, reasons=reasons.get(numbers.get(one.device or "", -1), {}))
            if one.pattern == "refused"
            else one
            for one in found
        ]


def _places(watched: Watched, numbers: Ints) -> tuple[Ints, Bools]:
    """Return the places of devices by the database's numbers, and which of these are watched."""
    place = places_of(watched.number, numbers)
    kept = place >= 0
    return place[kept], kept
