"""What the guesses of keys differ in, and what is counted of them."""

from __future__ import annotations

import itertools

from benchmarks.key_timing import deviations, guesses
from storage.api_keys import generate_key, prefix_of


def test_guesses_look_like_keys_and_differ_where_they_say() -> None:
    for _ in range(20):
        key = generate_key()
        first, again, last, unknown = guesses(key).values()
        assert first == again
        for guess, place in ((first, 20), (last, len(key) - 1), (unknown, 7)):
            assert prefix_of(guess) is not None
            assert [n for n, (a, b) in enumerate(zip(key, guess, strict=True)) if a != b] == [place]


def test_a_comparison_that_stops_at_the_first_difference_is_far_from_chance() -> None:
    shorter = [1.0 + n % 7 for n in range(1000)]
    longer = [taken + 0.5 for taken in shorter]
    assert deviations(longer, shorter) > 30
    assert deviations(shorter, longer) < -30
    mixed = [taken + sign for taken, sign in zip(shorter, itertools.cycle((0.5, -0.5)), strict=False)]
    assert deviations(mixed, shorter) == 0
    assert deviations(shorter, shorter) == 0
