"""The fuzz of the decoders: a short one of each kind, and that it would notice."""

from __future__ import annotations

import itertools
import random

import pytest

from benchmarks.fuzz import Fuzz, mutations, seeds
from sensors.catalogue import build_catalogue, builtin_file
from sensors.kinds import Kind

KINDS = build_catalogue(builtin_file("alatau"), "alatau.toml").kinds


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_payload_crashes_a_decoder_or_divides_them(kind: Kind) -> None:
    fuzz = Fuzz(kind)
    fuzz.run(itertools.islice(mutations(random.Random(2), seeds(kind)), 500))  # noqa: S311
    assert (fuzz.crashed, fuzz.disagreed, fuzz.example) == (0, 0, None)
    assert fuzz.accepted


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_good_payloads_are_accepted(kind: Kind) -> None:
    fuzz = Fuzz(kind)
    fuzz.run(iter(seeds(kind)))
    assert (fuzz.accepted, fuzz.crashed, fuzz.disagreed) == (len(seeds(kind)), 0, 0)


def test_a_decoder_that_crashes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(payload: bytes, kind: Kind) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("benchmarks.fuzz.take_apart", crash)
    fuzz = Fuzz(KINDS[0])
    fuzz.run(iter([b"["]))
    assert (fuzz.crashed, fuzz.example) == (1, b"[")
