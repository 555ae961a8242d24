"""Batches: sorted, each (device, time) once, the first value of a metric wins."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sensors.catalogue import builtin_file
from sensors.readings import ReadingBatch, concatenate

NOISE = next(kind for kind in builtin_file("kinds").kind if kind.name == "noise")
Row = tuple[int, int, tuple[float, float, float]]

values = st.one_of(st.just(np.nan), st.integers(0, 100).map(float))
rows = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 4), st.tuples(values, values, values)), max_size=40
)


def batch_of(given_rows: list[Row]) -> ReadingBatch:
    return ReadingBatch(
        NOISE,
        np.array([row[0] for row in given_rows], dtype=np.int32),
        np.array([row[1] for row in given_rows], dtype=np.int64),
        np.arange(len(given_rows), dtype=np.int64),
        np.array([row[2] for row in given_rows], dtype=np.float64).reshape(-1, 3),
    )


@given(rows)
def test_repeated_readings_become_one_and_complete_each_other(given_rows: list[Row]) -> None:
    expected: dict[tuple[int, int], list[float]] = {}
    for device, time, metrics in given_rows:
        kept = expected.setdefault((device, time), list(metrics))
        for column, value in enumerate(metrics):
            if np.isnan(kept[column]):
                kept[column] = value
    unique = batch_of(given_rows).sorted_unique()
    keys = [(int(d), int(t)) for d, t in zip(unique.device, unique.time, strict=True)]
    assert keys == sorted(expected)
    np.testing.assert_array_equal(unique.values, np.array([expected[key] for key in keys]).reshape(-1, 3))


@given(rows)
def test_the_first_to_arrive_keeps_its_time_of_arrival(given_rows: list[Row]) -> None:
    unique = batch_of(given_rows).sorted_unique()
    first = {(row[0], row[1]): number for number, row in reversed(list(enumerate(given_rows)))}
    arrived = {
        (int(d), int(t)): int(r) for d, t, r in zip(unique.device, unique.time, unique.received, strict=True)
    }
    assert arrived == first


def test_concatenated_batches_keep_their_order() -> None:
    first, second = batch_of([(2, 1, (1.0, 2.0, 3.0))]), batch_of([(1, 1, (4.0, 5.0, 6.0))])
    assert concatenate([first, second]).device.tolist() == [2, 1]
