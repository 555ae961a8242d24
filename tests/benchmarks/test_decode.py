"""The benchmark of decoders reads what it measures."""

from __future__ import annotations

from benchmarks.decode import measure
from benchmarks.wire_messages import FOREIGN
from ingest.decoders.table import FORMATS


def test_every_format_of_it_is_read() -> None:
    measures = {one.name: one.value for one in measure(rounds=1, count=20)}
    assert {"native: decoder", "SenML: ingest", "ChirpStack: ingest against native"} < set(measures)
    of_formats = {one.format.name for one in FOREIGN if one.format is not None}
    assert of_formats == {one.name for one in FORMATS}
    assert all(value > 0 for value in measures.values())
