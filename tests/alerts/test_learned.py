"""What was learned is found again, device by device, when others come, go or move."""

from __future__ import annotations

import dataclasses

import numpy as np

from alerts.arrivals import Usual
from alerts.baseline import Baseline
from alerts.layout import Part, parts_of
from alerts.learned import Learned
from sensors.catalogue import Catalogue
from sensors.times import DAY
from storage.anomaly_inputs import Watched


def watched(**districts: str) -> Watched:
    """Return noise monitors by id and district."""
    count = len(districts)
    return Watched(
        np.arange(count),
        tuple(districts),
        ("noise",) * count,
        tuple(districts.values()),
        np.full(count, 60_000_000),
        np.zeros(count, np.int64),
    )


BEFORE = watched(a="gate", b="gate", c="golden")


def learned_of(parts: list[Part]) -> Learned:
    """Return that each device of ``BEFORE`` has a bound of its own, 1 to 3, and each district, 10 and 20."""
    learned = Learned()
    for part in parts:
        baseline = dataclasses.replace(
            Baseline.unknown(3, 2),
            bound=np.array([1, 2, 3], np.float32),
            group_bound=np.tile(np.array([10, 20], np.float32), (24, 1)),
            together=np.ones(1, np.bool_),
        )
        readings = np.array([5, 6, 7]) + (part.metric.name == "lamax")
        learned.put(part, BEFORE, DAY, baseline, Usual(np.ones(3), np.array([0.1, 0.2, 0.3]), readings))
    return learned


def test_each_keeps_its_own_and_who_is_new_has_nothing(catalogue: Catalogue) -> None:
    learned = learned_of(parts_of(BEFORE, catalogue))
    after = watched(new="gate", c="turksib", a="gate")
    parts = parts_of(after, catalogue)
    baseline = learned.baseline(parts[:1], after)
    assert baseline.bound.tolist() == [1, 3, 1], "1 is that of what is not known"
    assert np.isinf(baseline.apart[:, 0]).all()
    assert baseline.group_bound[0].tolist() == [10, np.inf], "nothing is known of a district that is new"
    assert baseline.together.tolist() == [True]
    usual, by = learned.usual(parts, after)
    assert usual.lost.tolist()[1:] == [0.3, 0.1]
    assert np.isnan(usual.lost[0])
    assert by.tolist() == [-1, 4, 5], "each is counted by the metric that comes most often"


def test_nothing_is_learned_anew_because_others_come_and_a_kind_of_new_ones_is(catalogue: Catalogue) -> None:
    parts = parts_of(BEFORE, catalogue)
    learned = learned_of(parts)
    more = watched(a="golden", new="gate")
    assert learned.due(parts_of(more, catalogue), more, DAY + 1) == []
    assert len(learned.due(parts_of(more, catalogue), more, 2 * DAY)) == len(parts)
    others = watched(x="gate")
    assert len(learned.due(parts_of(others, catalogue), others, DAY + 1)) == len(parts)
