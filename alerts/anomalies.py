"""What is unusual now: one step for each five minutes, all series at once, arrays in, findings out.

Of each series at most one thing is found, the first of these that holds:

- stuck: the same value for an hour in which such metrics move, and not at rest at an end of its range
- spike: one reading far from the others around it
- departure: the mean of the last hour is far from what neighbours make likely
- drift: the slow mean of the distance from neighbours has left its bound

Of a device, silence: none of its readings for three intervals, at least a quarter of an hour. Of a district (its
devices of one kind), event: their median has left that of the other districts. Of the city, event: the median of a
kind has moved further within hours than it ever does. An alarm ends at six tenths of the bound that raised it.

Control charts of the slow mean: Roberts, Technometrics 1 (1959). Hysteresis: ISA-18.2, deadband.
"""

from __future__ import annotations

import enum
import zoneinfo

import numpy as np

from alerts.baseline import Baseline, from_scale, hour_of_week, to_scale
from alerts.memory import BUCKET, LAST, Bools, Bucket, Layout, Memory
from alerts.neighbours import Floats, Ints, common_of, group_medians, median_of_others, middle
from sensors.times import SECOND

_SILENT_INTERVALS, _SILENT_LEAST = 3, 900 * SECOND
# In the middle between two hours anything between them is usual; of districts, which agree better, half of that.
_BETWEEN, _BETWEEN_GROUPS = 4.0, 0.5
_OFF = 0.6  # of the bound, where an alarm ends
_SLOW = np.float32(1 - np.exp(-BUCKET / (12 * 3600 * SECOND)))
_LEAP_SIGMAS = 8.0
_MAD = np.float32(1.4826)  # the median of sizes is then their deviation
_SLOW_USUAL = np.float32(6.0)  # parts of its bound that a slow mean commonly has
_BACK = 0.3  # of its slow mean, at which a sensor that drifted is as near to its neighbours as before
_CITY_LONGEST = 43_200 * SECOND
_HOLD = 3  # buckets for which a bound has to be exceeded
_AGREE = 0.75  # of the devices of a group, whose values have to move together
_SPIKE_BUCKETS = 6  # how long a spike is shown
_STUCK_LEAST = 8  # buckets of one value
_HOUR = 3600 * SECOND


class Pattern(enum.IntEnum):
    """What is found of a series; the first that holds."""

    USUAL = 0
    STUCK = 1
    SPIKE = 2
    DEPARTURE = 3
    DRIFT = 4


class Detector:
    """Takes buckets in the order of time; ``memory`` and ``time`` (the end of the last) are what it knows then."""

    def __init__(self, layout: Layout, baseline: Baseline, zone: zoneinfo.ZoneInfo) -> None:
        self.layout = layout
        self.baseline = baseline
        self.memory = Memory.empty(layout)
        self.time = 0
        self.zone = zone

    def step(self, bucket: Bucket) -> None:
        """Take the next five minutes."""
        memory = self.memory
        self.time = bucket.start + BUCKET
        there = bucket.count > 0
        np.maximum.at(memory.seen, self.layout.device[there], bucket.last_at[there])
        slot = int(hour_of_week(np.array([bucket.start]), self.zone)[0])
        self._season()
        value = self._values(bucket, there)
        cleaned, spiked = self._without_spikes(bucket, value)
        stuck = self._stuck(bucket, value, slot)
        # Of single readings the one that leapt is kept: if it stays, it is the new level.
        _push(memory.value, np.where(bucket.count >= 3, cleaned, value), ~np.isnan(value))
        memory.hour[1:] = memory.hour[:-1].copy()
        memory.hour[0] = cleaned
        residual = to_scale(self._of_hour(), self.baseline.knee) - memory.expected
        self._of_groups(residual)
        memory.distance = residual - memory.common
        self._judge(spiked, stuck)

    def silent(self) -> Bools:
        """Return of each device (d,) whether it has fallen silent; one that has never sent has not."""
        waited = self.time - self.memory.seen
        patience = np.maximum(_SILENT_INTERVALS * self.layout.interval, _SILENT_LEAST)
        return (self.memory.seen > 0) & (waited >= patience)

    def _season(self) -> None:
        """Know what the season makes of the hour before: of the two hours that it lies in, as much as it does.

        Where they differ, the hour between them is less certain than either.
        """
        base = self.baseline
        slot = int(hour_of_week(np.array([self.time - 1]), self.zone)[0])
        into = np.float32(((self.time - 1) % _HOUR + 1) / _HOUR)
        here, before = base.centre[slot], base.centre[slot - 1]
        mixed = from_scale(here, base.knee) * into + from_scale(before, base.knee) * (1 - into)
        self.memory.expected = to_scale(mixed, base.knee)
        hours = [slot % 24] if into == 1 else [slot % 24, slot % 24 - 1]
        after = base.centre[(slot + 1) % len(base.centre)]
        unsure = _BETWEEN * into * (1 - into) * np.maximum(np.abs(here - before), np.abs(after - here))
        self.memory.width = base.bound * base.apart[hours].max(axis=0) + unsure
        self.memory.group_width = base.group_bound[hours].max(axis=0)
        self.memory.group_width += _BETWEEN_GROUPS * unsure[self.layout.first_of_group]
        self.memory.city_width = base.city_bound[hours].max(axis=0)
        self.memory.city_width += unsure[self.layout.first_of_city]

    def _of_hour(self) -> Floats:
        """Return the mean of the last hour (s,); NaN where less than half of what an hour should have is there."""
        hour = self.memory.hour
        there = ~np.isnan(hour)
        count = there.sum(axis=0)
        mean = np.where(there, hour, 0).sum(axis=0, dtype=np.float32) / np.maximum(count, 1)
        return np.where(2 * count >= self._per_hour(), mean, np.float32(np.nan)).astype(np.float32)

    def _per_hour(self) -> Ints:
        """Return in how many buckets of an hour each series should have readings (s,)."""
        return np.clip(_HOUR // self.layout.interval, 1, LAST)[self.layout.device]

    def _values(self, bucket: Bucket, there: Bools) -> Floats:
        """Return the mean of each series, of counters their rise in an hour since the bucket before."""
        memory, counters = self.memory, self.layout.is_counter
        value = np.where(there, bucket.mean, np.float32(np.nan))
        chosen = np.flatnonzero(counters & there)
        if len(chosen):
            waited = bucket.last_at[chosen] - memory.counter_at[chosen]
            rise = bucket.last[chosen] - memory.counter[chosen]
            longest = 3 * self.layout.interval[self.layout.device[chosen]] + 2 * BUCKET
            # After a gap the rise is a mean over it, and after a reset nothing.
            known = (waited > 0) & (waited <= longest) & (rise >= 0)
            hourly = rise * (3_600_000_000 / np.maximum(waited, 1))
            value[chosen] = np.where(known, hourly, np.nan)
            memory.counter[chosen] = bucket.last[chosen]
            memory.counter_at[chosen] = bucket.last_at[chosen]
        return value

    def _without_spikes(self, bucket: Bucket, value: Floats) -> tuple[Floats, Bools]:
        """Return the values without a reading that leapt, and whether the bucket before had one.

        It is the highest or the lowest of a bucket, judged by the others of it; where fewer than three come in a
        bucket, by the bucket before. The next bucket decides: who is back was a spike, who stays has a new level.
        """
        base, memory = self.baseline, self.memory
        before = memory.value[0].copy()
        there = ~np.isnan(value)
        # What leapt in the last bucket was a spike if this one is where the others were.
        back = there & (np.abs(value - memory.rest) < 0.5 * np.abs(memory.leapt - memory.rest))
        memory.peak = np.where(back, memory.leapt, memory.peak)
        memory.value[0] = np.where(back, memory.rest, memory.value[0])
        memory.leapt = np.where(there, np.float32(np.nan), memory.leapt)
        n = bucket.count.astype(np.float32)
        many = bucket.count >= 3
        rest = np.maximum(n - 1, 1)
        cleaned = value
        low, high = self._hull()
        for end, bound in ((bucket.high, base.leap_up), (bucket.low, base.leap_down)):
            mean = np.where(many, (n * value - end) / rest, before)
            variance = np.maximum(bucket.m2 - (n / rest) * np.square(end - value), 0) / np.maximum(n - 2, 1)
            deviation = np.where(many, np.sqrt(variance), 0)
            leap = np.abs(end - mean)
            y = to_scale(end, base.knee)
            found = there & ~back & ((y > high + bound) | (y < low - bound))
            found &= (np.abs(y - to_scale(mean, base.knee)) > bound) & (leap > _LEAP_SIGMAS * deviation)
            # It leapt from where the bucket before was, too: else a new level begins or ends here.
            found &= np.abs(before - mean) < 0.5 * leap
            memory.leapt = np.where(found, end, memory.leapt)
            memory.rest = np.where(found, mean, memory.rest)
            cleaned = np.where(found, mean, cleaned)
        return cleaned, back

    def _hull(self) -> tuple[Floats, Floats]:
        """Return between which y a value would be nothing new: of the hour that was, and the season's around now."""
        slot = int(hour_of_week(np.array([self.time - 1]), self.zone)[0])
        season = self.baseline.centre[[slot - 1, slot, (slot + 1) % len(self.baseline.centre)]]
        usual = to_scale(self._of_hour(), self.baseline.knee)
        return np.minimum(usual, season.min(axis=0)), np.maximum(usual, season.max(axis=0))

    def _stuck(self, bucket: Bucket, value: Floats, slot: int) -> Bools:
        memory, layout = self.memory, self.layout
        there = ~np.isnan(value)
        same = there & ~layout.is_counter & (bucket.low == bucket.high) & (bucket.low == memory.value[0])
        same &= (bucket.low > layout.minimum) & (bucket.high < layout.maximum)
        counts = self.baseline.moves[slot][layout.city]
        memory.still = np.where(there, np.where(same, memory.still + counts, 0), memory.still)
        memory.still_since = np.where(there & ~same, bucket.last_at, memory.still_since)
        hours = self.baseline.stuck[layout.city]
        stuck: Bools = memory.still >= np.maximum(_STUCK_LEAST, hours * self._per_hour())
        return stuck

    def _of_groups(self, residual: Floats) -> None:
        """Compare districts with each other and the city with its last hours; keep what neighbours share."""
        memory, layout, base = self.memory, self.layout, self.baseline
        of_group, _ = group_medians(residual, layout.group, len(layout.city_of_group))
        of_city, _ = group_medians(residual, layout.city, len(layout.first_of_city))
        common = common_of(of_group[layout.group], of_city[layout.city])
        memory.common = np.where(base.together[layout.city], common, np.float32(0))
        others = median_of_others(of_group, layout.others)
        memory.of_group = of_group - others
        agree = self._agree(residual - others[layout.group], memory.of_group, layout.group)
        is_far = (np.abs(memory.of_group) > memory.group_width) & agree
        still = np.abs(memory.of_group) > _OFF * memory.group_width
        memory.group_over, memory.group_since = self._switched(
            memory.group_over, memory.group_since, is_far, still
        )
        memory.of_city[1:] = memory.of_city[:-1].copy()
        memory.of_city[0] = of_city
        calm = memory.city_since == 0
        memory.reference = np.where(calm, middle(memory.of_city[LAST:].T), memory.reference)
        moved = of_city - memory.reference
        agree = self._agree(residual - memory.reference[layout.city], moved, layout.city)
        is_far = (np.abs(moved) > memory.city_width) & (np.abs(of_city) > 0.5 * memory.city_width) & agree
        still = np.abs(moved) > _OFF * memory.city_width
        # By then the reference is of another time of day.
        still &= self.time - memory.city_since < _CITY_LONGEST
        memory.city_over, memory.city_since = self._switched(
            memory.city_over, memory.city_since, is_far, still
        )

    def _agree(self, shift: Floats, moved: Floats, number: Ints) -> Bools:
        """Return of which groups nearly all devices have moved the same way, by half as much as their median."""
        there = ~np.isnan(shift)
        along = there & (shift * np.sign(moved)[number] > 0.5 * np.abs(moved)[number])
        count = np.bincount(number[there], minlength=len(moved))
        return np.bincount(number[along], minlength=len(moved)) >= _AGREE * np.maximum(count, 1)

    def _switched(self, over: Ints, since: Ints, is_far: Bools, still: Bools) -> tuple[Ints, Ints]:
        """Return for how many buckets a bound has been exceeded, and since when an event is on, 0 for none."""
        over = np.where(is_far, over + 1, 0)
        on = np.where(since > 0, still, over >= _HOLD)
        return over, np.where(on, np.where(since > 0, since, self.time - _HOLD * BUCKET), 0)

    def _judge(self, spiked: Bools, stuck: Bools) -> None:
        memory, base, layout = self.memory, self.baseline, self.layout
        distance = memory.distance
        size = np.abs(distance)
        # When devices of a kind differ more than they used to, in rare weather, one has to differ by so much more.
        bound = memory.width * self._restless(_MAD * size / base.apart.max(axis=0))
        memory.width = bound
        was = memory.pattern
        # What a device of a district does in its event, it does with the others.
        in_event = (memory.group_since[layout.group] > 0) | (memory.city_since[layout.city] > 0)
        memory.over = np.where(
            ~np.isnan(size), np.where((size > bound) & ~in_event, memory.over + 1, 0), memory.over
        )
        departed = np.where(was == Pattern.DEPARTURE, size > _OFF * bound, memory.over >= _HOLD)
        there = ~np.isnan(distance)
        clipped = np.clip(distance, -bound, bound)
        moving = there & ~stuck & ~in_event & ~departed
        memory.slow = np.where(moving, memory.slow + _SLOW * (clipped - memory.slow), memory.slow)
        # A sensor that was set right again is not held to its past.
        is_near = (was == Pattern.DRIFT) & (size < _BACK * np.abs(memory.slow))
        memory.back = np.where(is_near, memory.back + 1, 0)
        memory.slow = np.where(memory.back >= LAST, memory.slow * np.float32(0.8), memory.slow)
        slow = np.abs(memory.slow)
        limit = base.slow * self._restless(_SLOW_USUAL * slow / base.slow)
        drifts = np.where(was == Pattern.DRIFT, slow > _OFF * limit, (slow > limit) & ~in_event)
        memory.spiked = np.where(spiked, self.time, memory.spiked)
        shown = self.time - memory.spiked < _SPIKE_BUCKETS * BUCKET
        pattern = np.select(
            [stuck, shown, departed, drifts],
            [Pattern.STUCK, Pattern.SPIKE, Pattern.DEPARTURE, Pattern.DRIFT],
            Pattern.USUAL,
        ).astype(np.int8)
        begins = np.where(stuck, memory.still_since, self.time - BUCKET)
        begins = np.where(pattern == Pattern.DEPARTURE, self.time - _HOLD * BUCKET, begins)
        memory.since = np.where(pattern == was, memory.since, begins)
        memory.pattern = pattern

    def _restless(self, size: Floats) -> Floats:
        """Return by how much devices of each series' kind differ more than usual: 1 or more, (s,)."""
        usual, _ = group_medians(
            np.where(np.isfinite(size), size, np.nan), self.layout.city, len(self.layout.first_of_city)
        )
        return np.fmax(usual, np.float32(1))[self.layout.city]


def _push(ring: Floats, value: Floats, there: Bools) -> None:
    """Put the values that are there in front of a ring (length, s), newest first."""
    if there.all():
        ring[1:] = ring[:-1].copy()
        ring[0] = value
        return
    ring[1:] = np.where(there, ring[:-1], ring[1:])
    ring[0] = np.where(there, value, ring[0])
