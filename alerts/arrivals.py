"""Whether a device delivers less than it used to, or more of what it sends is refused: change points of two shares.

A device's readings are held against those that its interval makes expected, bucket by bucket of five minutes, in a
CUSUM chart of the share that is lost: each reading that came or did not adds the logarithm of how much likelier that is
when the share has risen than when it is as usual, and the sum never falls below zero. It is found when the sum exceeds
``LIMIT``. Where readings are lost one by one, that happens by chance once in exp(LIMIT) = 66 million expected readings
at most, 125 years of a device that sends each minute; a burst counts for a part of the limit only. What is usual are
the device's own weeks, with three of their deviations on top: it has to be worse than its bad hours are. The change
was where the sum last rose from zero. It is over when as much speaks for the usual share, against the one since then.

Silence is not counted, nor are the buckets beside it: of that the search tells as such.

Sources: Page, Biometrika 41 (1954); for how rarely by chance, Lorden, Ann. Math. Stat. 42 (1971), theorem 2.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from alerts.memory import BUCKET, Bools
from alerts.neighbours import Ints, middle
from sensors.times import SECOND

Reals = npt.NDArray[np.float64]

LIMIT = 18.0
_BURST, _REFUSED_BURST = 4, 2  # buckets that it takes at least
_OVER = float(np.log(1000))
_RISE, _LEAST_RISE = 0.15, 0.1  # what the chart is most sensitive to, and the least that is worth saying
_LEAST_LOST = 0.02
_MOST_LOST = 0.8  # of a device that usually loses more nothing is said
# More than the search takes for silence: of a slow device that loses most readings, three in a row are missing often.
_SILENT_INTERVALS, _SILENT_LEAST = 8, 900 * SECOND
_HOUR = 3600 * SECOND
_WINDOW = 6  # hours in which a share is a share
WINDOW = _WINDOW * _HOUR
_FEWEST = 8  # such windows: two days
_MAD = 1.4826
HOURS = 24  # that are kept for the picture


@dataclasses.dataclass(slots=True)
class Usual:
    """How many readings of devices (d,) come in their own weeks."""

    share: Reals  # of the expected ones, in the middle; NaN: not known
    lost: Reals  # share that is missing in a bad quarter of a day; NaN: not judged
    readings: Ints  # that were counted

    @classmethod
    def unknown(cls, devices: int) -> Usual:
        """Return that nothing is known."""
        return cls(np.full(devices, np.nan), np.full(devices, np.nan), np.zeros(devices, np.int64))

    def carried(self, places: Ints) -> Usual:
        """Return it for other devices; each number is its place here, -1 of one that was not here."""
        result = Usual.unknown(len(places))
        there = places >= 0
        for field in dataclasses.fields(Usual):
            getattr(result, field.name)[there] = getattr(self, field.name)[places[there]]
        return result

    def put(self, places: Ints, other: Usual, chosen: Bools) -> None:
        """Take over what is chosen of another one, to these places."""
        for field in dataclasses.fields(Usual):
            getattr(self, field.name)[places] = getattr(other, field.name)[chosen]


def patience_of(interval: Ints) -> Ints:
    """Return for how long nothing may come of devices of these intervals until that is silence, µs."""
    return np.maximum(_SILENT_INTERVALS * interval, _SILENT_LEAST)


def learn_usual(count: Ints, interval: Ints) -> Usual:
    """Return what is usual by readings of each hour (n, hours) and the interval (n,) between two, µs."""
    longest = np.maximum(1, np.round(patience_of(interval) / _HOUR)).astype(np.int64)
    silent = _silent(count > 0, longest)
    # Hours beside silence are silent in part.
    near = silent.copy()
    near[:, 1:] |= silent[:, :-1]
    near[:, :-1] |= silent[:, 1:]
    whole = count.shape[1] // _WINDOW * _WINDOW
    shape = (len(count), -1, _WINDOW)
    came = np.where(near, 0, count)[:, :whole].reshape(shape).sum(axis=2)
    hours = (~near)[:, :whole].reshape(shape).sum(axis=2)
    due = hours * (_HOUR / interval)[:, None]
    lost = np.where(2 * hours >= _WINDOW, 1 - np.minimum(came / np.maximum(due, 1e-9), 1), np.nan)
    usual = middle(lost.astype(np.float32)).astype(np.float64)
    deviation = _MAD * middle(np.abs(lost - usual[:, None]).astype(np.float32))
    is_known = np.sum(~np.isnan(lost), axis=1) >= _FEWEST
    bad = np.maximum(usual + 3 * deviation, _LEAST_LOST)
    return Usual(
        np.where(is_known, 1 - usual, np.nan),
        np.where(is_known & (bad <= _MOST_LOST), bad, np.nan),
        count.sum(axis=1),
    )


def _silent(there: Bools, longest: Ints) -> Bools:
    """Return which hours (n, hours) lie in at least ``longest`` (n,) hours on end without a reading."""
    length = np.zeros(there.shape, np.int64)
    run = np.zeros(len(there), np.int64)
    for hour in range(there.shape[1]):
        run = np.where(there[:, hour], 0, run + 1)
        length[:, hour] = run
    for hour in range(there.shape[1] - 2, -1, -1):
        goes_on = length[:, hour + 1] > length[:, hour]
        length[:, hour] = np.where(goes_on & ~there[:, hour], length[:, hour + 1], length[:, hour])
    silent: Bools = length >= longest[:, None]
    return silent


@dataclasses.dataclass(slots=True)
class Chart:
    """A CUSUM of the share of trials that is lost, of devices (d,). Times are Unix µs."""

    sum: Reals
    trials: Reals  # since the sum was zero
    lost: Reals
    since: Ints  # when it rose from zero
    is_on: Bools
    back: Reals  # how much speaks for its being over

    @classmethod
    def empty(cls, devices: int) -> Chart:
        """Return the chart before the first step."""
        zeros = np.zeros(devices)
        return cls(
            zeros,
            zeros.copy(),
            zeros.copy(),
            np.zeros(devices, np.int64),
            np.zeros(devices, np.bool_),
            zeros.copy(),
        )

    def share(self) -> Reals:
        """Return the share of trials that was lost since the change."""
        shares: Reals = np.clip(self.lost / np.maximum(self.trials, 1e-9), 0, 1)
        return shares

    def step(self, at: Ints, trials: Reals, lost: Reals, usual: Reals, burst: int) -> None:
        """Take trials (d,) that began at ``at``, and how many of them were lost; NaN of ``usual``: not judged."""
        counted = (trials > 0) & ~np.isnan(usual)
        trials, lost = np.where(counted, trials, 0.0), np.where(counted, lost, 0.0)
        usual = np.where(counted, usual, _LEAST_LOST)
        worse = np.minimum(2 * usual + _RISE, 0.95)
        gain = np.minimum(_likelier(lost, trials, worse, usual), LIMIT / burst)
        begins = (self.sum <= 0) & ~self.is_on
        self.since = np.where(begins & counted, at, self.since)
        self.trials = np.where(begins, 0, self.trials) + trials
        self.lost = np.where(begins, 0, self.lost) + lost
        self.sum = np.clip(self.sum + gain, 0, LIMIT)
        share = self.share()
        self.is_on |= (self.sum >= LIMIT) & (share >= usual + _LEAST_RISE)
        against = np.clip(share, usual + 0.05, 0.99)
        self.back = np.where(
            self.is_on, np.maximum(self.back + _likelier(lost, trials, usual, against), 0), 0
        )
        self.forget(self.back >= _OVER)

    def forget(self, chosen: Bools) -> None:
        """Begin anew."""
        self.is_on &= ~chosen
        self.sum = np.where(chosen, 0, self.sum)
        self.back = np.where(chosen, 0, self.back)


def _likelier(lost: Reals, trials: Reals, one: Reals, other: Reals) -> Reals:
    """Return the logarithm of how much likelier that many are lost by one share than by the other."""
    result: Reals = lost * np.log(one / other) + (trials - lost) * np.log((1 - one) / (1 - other))
    return result


class Arrivals:
    """Takes buckets in the order of time; ``usual`` is what they are held against. Its arrays are by device (d,)."""

    def __init__(self, interval: Ints, usual: Usual) -> None:
        count = len(interval)
        self.interval = interval
        self.usual = usual
        self.refused = np.zeros(count)  # share of messages that is refused in their own weeks, in the middle
        self.most_refused = np.full(count, _LEAST_LOST)  # and in a bad quarter of a day
        self.losses, self.refusals = Chart.empty(count), Chart.empty(count)
        self._expected, self._received = np.zeros(count), np.zeros(count)  # of the bucket that waits
        self._at = np.zeros(count, np.int64)
        self._gap = np.full(count, 2**31)  # buckets without a reading; before the first is silence
        self.hours = np.zeros((HOURS, count))  # readings of each hour, the newest last
        self.hour = 0  # the beginning of that, Unix µs

    def learn_refused(self, refused: Ints) -> None:
        """Learn how many messages are usually refused, by how many were in each quarter of a day (d, quarters)."""
        came = np.nan_to_num(self.usual.share) * WINDOW / self.interval
        share = (refused / np.maximum(refused + came[:, None], 1e-9)).astype(np.float32)
        self.refused = middle(share).astype(np.float64)
        deviation = _MAD * middle(np.abs(share - self.refused[:, None]).astype(np.float32))
        self.most_refused = np.clip(self.refused + 3 * deviation, _LEAST_LOST, _MOST_LOST)

    def step(self, start: int, count: Ints, refused: Ints) -> None:
        """Take how many readings (d,) came in five minutes from ``start``, Unix µs, and how many were refused."""
        self._draw(start, count)
        each = BUCKET / self.interval
        patience = -(-patience_of(self.interval) // BUCKET)
        there = count > 0
        # A bucket waits for the next one that has readings: only then a gap is known to be no silence.
        goes_on = there & (self._gap < patience)
        expected = np.where(goes_on, self._expected, 0.0)
        self.losses.step(self._at, expected, expected - self._received, self.usual.lost, _BURST)
        waits = np.where(there, goes_on, self._expected > 0)
        self._expected = np.where(waits, np.where(there, 0, self._expected) + each, 0)
        self._received = np.where(there, count, self._received).astype(np.float64)
        self._at = np.where(there, start, self._at)
        self._gap = np.where(there, 0, self._gap + 1)
        at = np.full(len(count), start, np.int64)
        usual: Reals = np.where(np.isnan(self.usual.lost), np.nan, self.most_refused)
        trials, lost = (count + refused).astype(np.float64), refused.astype(np.float64)
        self.refusals.step(at, trials, lost, usual, _REFUSED_BURST)

    def _draw(self, start: int, count: Ints) -> None:
        hour = start // _HOUR * _HOUR
        passed = min(HOURS, (hour - self.hour) // _HOUR)
        if passed > 0:
            self.hours = np.concatenate([self.hours[passed:], np.zeros((passed, len(count)))])
            self.hour = hour
        self.hours[-1] += count

    @property
    def first_hour(self) -> int:
        """Return when the first of ``shares`` begins, Unix µs."""
        return self.hour - (HOURS - 1) * _HOUR

    def shares(self, device: int) -> list[float]:
        """Return which shares of the expected readings of a device came in the last whole hours, at most 1."""
        due = _HOUR / int(self.interval[device])
        return [round(min(count / due, 1.0), 3) for count in self.hours[:-1, device].tolist()]

    def carry(self, old: Arrivals, places: Ints) -> None:
        """Take over what another one knows of devices; each number is its place there, -1 of one that was not there."""
        there = places >= 0
        for one, other in ((self.losses, old.losses), (self.refusals, old.refusals)):
            for field in dataclasses.fields(Chart):
                getattr(one, field.name)[there] = getattr(other, field.name)[places[there]]
        for name in ("_expected", "_received", "_at", "_gap", "hours", "refused", "most_refused"):
            getattr(self, name)[..., there] = getattr(old, name)[..., places[there]]
        self.hour = old.hour
