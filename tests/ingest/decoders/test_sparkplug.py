"""Sparkplug sessions: round trips with an encoder of the tests' own, and how much is remembered."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from ingest.decoders.known import Known
from ingest.decoders.parsed import Incoming, Parsed
from ingest.decoders.sparkplug import FORMAT, Node, decode
from ingest.decoders.sparkplug_births import MOST_NAMES_OF_A_NODE, MOST_REFUSALS
from ingest.decoders.table import format_of
from sensors.checks import Reason
from tests.ingest.decoders.encode_sparkplug import metric, payload

NOW = 1_767_225_600.0
STAMP = 1_767_225_600_000

INTEGERS = {1: (-(2**7), 2**7), 2: (-(2**15), 2**15), 3: (-(2**31), 2**31), 4: (-(2**63), 2**63)} | {
    5: (0, 2**8),
    6: (0, 2**16),
    7: (0, 2**32),
    8: (0, 2**64),
}


def _typed(datatype: int) -> st.SearchStrategy[tuple[int, str, Any]]:
    """Return values of a type with the field that holds them."""
    if datatype in INTEGERS:
        least, end = INTEGERS[datatype]
        field = "long_value" if datatype in (4, 8) else "int_value"
        return st.tuples(st.just(datatype), st.just(field), st.integers(least, end - 1))
    finite = st.floats(allow_nan=False, allow_infinity=False, width=32 if datatype == 9 else 64)
    others = {
        9: ("float_value", finite),
        10: ("double_value", finite),
        11: ("boolean_value", st.booleans()),
    }
    field, values = others[datatype]
    return st.tuples(st.just(datatype), st.just(field), values)


TYPED = st.integers(1, 11).flatmap(_typed)
NAMES = st.text(min_size=1, max_size=12).filter(lambda name: name != "bdSeq" and "Control/" not in name)


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(st.dictionaries(NAMES, TYPED, min_size=1, max_size=6), st.booleans(), st.integers(0, 2**41))
def test_what_is_born_and_sent_is_read(
    said: dict[str, tuple[int, str, Any]], has_aliases: bool, stamp: int
) -> None:
    nodes = FORMAT.memory()
    born, sent = [], []
    for alias, (name, (datatype, field, value)) in enumerate(said.items()):
        given_alias = alias if has_aliases else None
        born.append(
            metric(name, alias=given_alias, ts=stamp, datatype=datatype, **{field: _wire(value, datatype)})
        )
        sent.append(
            metric(
                None if has_aliases else name,
                alias=given_alias,
                ts=stamp,
                **{field: _wire(value, datatype)},
            )
        )
    births = _decode("NBIRTH/gw1", payload(*born, ts=stamp, seq=0), nodes)
    data = _decode("NDATA/gw1", payload(*sent, ts=stamp, seq=1), nodes)
    for parsed in (births, data):
        (reading,) = parsed.readings
        assert reading.values == {name: float(value) for name, (_, _, value) in said.items()}
        assert reading.time == stamp / 1000
        assert not parsed.refusals
        assert not parsed.replies


def test_data_that_came_before_its_birth_is_read_when_it_is_replayed_after_it() -> None:
    nodes = FORMAT.memory()
    early = payload(metric(alias=1, ts=STAMP, double_value=0.25), ts=STAMP, seq=77)
    assert _decode("NDATA/gw1", early, nodes).refusals[0].reason is Reason.NO_BIRTH
    _decode("NBIRTH/gw1", _birth(), nodes, NOW + 1)
    (reading,) = _decode("NDATA/gw1", early, nodes, NOW).readings
    assert reading.values == {"load": 0.25}


def test_the_node_silent_longest_is_forgotten_first() -> None:
    nodes: Known[Node] = Known(10)
    for node in ("a", "b"):
        _decode(f"NBIRTH/{node}", _birth(), nodes)
    data = payload(metric(alias=1, double_value=1.5), seq=1)
    assert _decode("NDATA/a", data, nodes).readings
    _decode("NBIRTH/c", _birth(), nodes)
    assert nodes.names <= 10
    assert not _decode("NDATA/b", data, nodes).readings


def test_names_of_one_node_are_bounded_and_its_devices_may_be_born_again() -> None:
    nodes = FORMAT.memory()
    birth = payload(*[metric(str(name), datatype=7, int_value=1) for name in range(9_000)])
    for device in ("a", "b", "b", "a"):
        assert not _decode(f"DBIRTH/gw1/{device}", birth, nodes).refusals
    assert [one.reason for one in _decode("DBIRTH/gw1/c", birth, nodes).refusals] == [Reason.TOO_LARGE]
    for number in range(20):
        _decode(f"DBIRTH/gw1/{number}", payload(), nodes)
    assert nodes.names <= MOST_NAMES_OF_A_NODE + 10


def test_a_device_without_metrics_is_there_all_the_same() -> None:
    (status,) = _decode("DBIRTH/gw1/air7", payload(ts=STAMP, seq=1), FORMAT.memory()).statuses
    assert (status.source, status.is_online) == ("alatau/gw1/air7", True)


def test_of_many_faults_the_first_are_told() -> None:
    parsed = _decode("NBIRTH/gw1", payload(*[metric(datatype=7, int_value=1)] * 500), FORMAT.memory())
    assert len(parsed.refusals) == MOST_REFUSALS


def test_more_metrics_than_a_message_may_have_are_refused() -> None:
    parsed = _decode("NDATA/gw1", payload(*[metric(alias=1)] * 10_001), FORMAT.memory())
    assert [(one.reason, one.found) for one in parsed.refusals] == [(Reason.TOO_LARGE, "10001 metrics")]


@pytest.mark.parametrize(
    "topic",
    ["spBv1.0/alatau/NCMD/gw1", "spBv1.0/alatau/DCMD/gw1/air7", "spBv1.0/STATE/host", "spBv1.0/alatau/NDATA"],
)
def test_commands_and_the_host_s_state_are_none_of_our_topics(topic: str) -> None:
    assert format_of(topic) is None


@pytest.mark.parametrize("topic", ["NBIRTH/", "DBIRTH/gw1/", f"NBIRTH/{'x' * 257}"])
def test_an_id_that_is_empty_or_too_long_is_refused(topic: str) -> None:
    nodes = FORMAT.memory()
    assert [refusal.reason for refusal in _decode(topic, _birth(), nodes).refusals] == [Reason.UNKNOWN_TOPIC]
    assert len(nodes) == 0


def _wire(value: Any, datatype: int) -> Any:
    return value % 2**32 if datatype in (1, 2, 3) else value


def _birth() -> bytes:
    born = metric("load", alias=1, ts=STAMP, datatype=10, double_value=0.5)
    return payload(metric("bdSeq", datatype=4, long_value=3), born, ts=STAMP, seq=0)


def _decode(topic: str, content: bytes, nodes: Known[Node], received: float = NOW) -> Parsed:
    ids = topic.split("/")[1:]
    return decode(Incoming(f"spBv1.0/alatau/{topic}", ("alatau", *ids), content, received), nodes)
