"""Faults: as many as asked for, each one labelled with what its receiver has to make of it."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from sensors.catalogue import Catalogue
from sensors.checks import Reason, TimeWindow
from sensors.fleet import plan_fleet
from sensors.kinds import Behaviour
from sensors.times import SECOND, format_timestamp, parse_timestamp
from simulators.city import City
from simulators.compose import Composer
from simulators.errors import SimulatorError
from simulators.faults import Fault, FaultInjector, parse_faults
from simulators.lasting import Lasting
from simulators.outgoing import ABSENT, DUPLICATE, STORED, Label, Outgoing, dead_letter
from simulators.schedule import RateSchedule

NOW = 1_795_000_000 * SECOND
SPAN = 60 * SECOND


@pytest.fixture(scope="module")
def city(catalogue: Catalogue) -> City:
    """A hundred devices."""
    return City(catalogue, plan_fleet(catalogue, 100), seed=1)


def sent(city: City, rates: dict[Fault, float]) -> list[Outgoing]:
    """Return a minute of 100 readings/s."""
    schedule = RateSchedule(len(city.fleet), 100)
    injector = FaultInjector(city, rates, schedule.spacing)
    messages = Composer(city).live(schedule, injector, NOW, NOW + SPAN)
    return messages + injector.flush()


def labelled(city: City, fault: Fault, rate: float = 0.1) -> list[tuple[Outgoing, Label]]:
    """Return messages with their labels where only one fault is asked for."""
    return [(message, label) for message in sent(city, {fault: rate}) for label in message.labels]


def honest(city: City) -> dict[tuple[int, int], bytes]:
    """Return the payload of every reading when nothing goes wrong, by device number and time."""
    return {(m.row, m.due): m.payload for m in sent(city, {}) if m.payload is not None}


def readings(messages: list[Outgoing]) -> Counter[tuple[int, int]]:
    """Count the readings that arrive, by device number and time."""
    found: Counter[tuple[int, int]] = Counter()
    for message in messages:
        if message.payload is not None:
            decoded = json.loads(message.payload)
            for reading in decoded if isinstance(decoded, list) else [decoded]:
                found[message.row, reading["ts"] * 1000] += 1
    return found


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.value not in set(Lasting)])
def test_as_many_readings_are_hit_as_asked_for_and_the_others_are_untouched(city: City, fault: Fault) -> None:
    messages = sent(city, {fault: 0.1})
    labels = [label for message in messages for label in message.labels]
    # Episodes are drawn as a whole, so their share scatters more.
    assert len(labels) == pytest.approx(
        600, abs=250 if fault in {Fault.STUCK, Fault.DRIFT, Fault.LATE} else 90
    )
    assert {label.fault for label in labels} == {fault.value}
    expected = honest(city)
    hit = {(label.device, label.time) for label in labels}
    for message in messages:
        if not message.labels:
            assert message.payload == expected[message.row, message.due]
    untouched = sum((city.fleet[row].id, format_timestamp(time)) not in hit for row, time in expected)
    assert untouched + len(hit) == len(expected)


def test_the_same_run_has_the_same_faults(city: City) -> None:
    assert sent(city, parse_faults("all=0.02")) == sent(city, parse_faults("all=0.02"))


def test_a_dropped_reading_is_not_sent(city: City) -> None:
    assert all(m.payload is None and label.expect == ABSENT for m, label in labelled(city, Fault.DROPOUT))


def test_a_duplicate_is_sent_twice(city: City) -> None:
    messages = sent(city, {Fault.DUPLICATE: 0.1})
    twice = [key for key, count in readings(messages).items() if count == 2]
    labels = [label for message in messages for label in message.labels]
    assert len(twice) == len(labels)
    assert all(label.expect == DUPLICATE for label in labels)
    assert set(readings(messages)) == set(honest(city))


def test_late_readings_arrive_as_arrays_after_their_time_and_none_is_lost(city: City) -> None:
    messages = sent(city, {Fault.LATE: 0.3})
    assert readings(messages) == Counter(dict.fromkeys(honest(city), 1))
    batches = [message for message in messages if message.labels]
    assert max(message.readings for message in batches) > 1
    for message in batches:
        assert all(parse_timestamp(label.time) < message.due for label in message.labels)
        assert all(label.expect == STORED for label in message.labels)


@pytest.mark.parametrize("fault", [Fault.STUCK, Fault.DRIFT, Fault.SPIKE])
def test_wrong_values_are_plausible_and_change_one_gauge(city: City, fault: Fault) -> None:
    expected = honest(city)
    for message, label in labelled(city, fault):
        kind = city.catalogue.kind_of[label.kind]
        assert label.metric is not None
        metric = kind.metrics[kind.index[label.metric]]
        assert metric.behaviour == Behaviour.GAUGE
        assert isinstance(label.sent, float)
        assert metric.minimum <= label.sent <= metric.maximum
        assert label.expect == STORED
        assert message.payload is not None
        fields, true = json.loads(message.payload), json.loads(expected[message.row, message.due])
        assert fields == true | {label.metric: label.sent}


def test_a_stuck_sensor_repeats_itself(city: City) -> None:
    values: dict[tuple[str, str], set[object]] = {}
    for _, label in labelled(city, Fault.STUCK, 1.0):
        values.setdefault((label.device, label.metric or ""), set()).add(label.sent)
    assert max(len(seen) for seen in values.values()) <= 60 // 20 + 1


def test_malformed_payloads_are_no_json(city: City) -> None:
    for message, label in labelled(city, Fault.MALFORMED):
        assert message.payload
        assert label.expect == dead_letter(Reason.UNDECODABLE)
        with pytest.raises(json.JSONDecodeError):
            json.loads(message.payload)


def test_wrong_clocks_are_wrong_beyond_doubt(city: City) -> None:
    window = TimeWindow()
    for message, label in labelled(city, Fault.CLOCK_1970):
        assert label.expect == dead_letter(Reason.TIME_TOO_OLD)
        assert parse_timestamp(json.loads(message.payload or b"")["ts"]) < NOW - window.past
    for message, label in labelled(city, Fault.CLOCK_2036):
        assert label.expect == dead_letter(Reason.TIME_IN_FUTURE)
        time = parse_timestamp(json.loads(message.payload or b"")["ts"])
        assert format_timestamp(time).startswith("2036-02-0")
    for message, label in labelled(city, Fault.CLOCK_UNIT):
        assert label.expect == dead_letter(Reason.TIME_UNREADABLE)
        with pytest.raises(ValueError, match="RFC 3339"):
            parse_timestamp(json.loads(message.payload or b"")["ts"])


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.UNKNOWN_METRIC, Reason.UNKNOWN_METRIC),
        (Fault.OUT_OF_RANGE, Reason.OUT_OF_RANGE),
        (Fault.WRONG_TYPE, Reason.WRONG_TYPE),
    ],
)
def test_one_bad_metric_leaves_the_others_good(city: City, fault: Fault, reason: Reason) -> None:
    expected = honest(city)
    for message, label in labelled(city, fault):
        kind = city.catalogue.kind_of[label.kind]
        fields, true = json.loads(message.payload or b""), json.loads(expected[message.row, message.due])
        assert label.expect == dead_letter(reason)
        assert fields.pop(label.metric) == label.sent
        assert fields == {name: value for name, value in true.items() if name != label.metric}
        if fault is Fault.UNKNOWN_METRIC:
            assert label.metric not in kind.index
        elif fault is Fault.OUT_OF_RANGE:
            metric = kind.metrics[kind.index[label.metric or ""]]
            assert isinstance(label.sent, float)
            assert not metric.minimum <= label.sent <= metric.maximum


def test_an_empty_reading_has_a_time_and_nothing_else(city: City) -> None:
    for message, label in labelled(city, Fault.EMPTY):
        assert list(json.loads(message.payload or b"")) == ["ts"]
        assert label.expect == dead_letter(Reason.NO_METRICS)


def test_faults_are_named_with_a_share_or_all_at_once() -> None:
    assert parse_faults("spike=0.01, malformed=0.001") == {Fault.SPIKE: 0.01, Fault.MALFORMED: 0.001}
    assert set(parse_faults("all")) == set(Fault)
    assert parse_faults("all=0.1,stuck=0")[Fault.STUCK] == 0
    assert parse_faults("stuck=0,all=0.1")[Fault.STUCK] == 0
    assert parse_faults("") == {}


@pytest.mark.parametrize(
    ("text", "told"), [("spik=0.1", 'did you mean "spike"'), ("spike=2", "0 to 1"), ("spike=x", "0 to 1")]
)
def test_what_is_wrong_with_a_list_of_faults_is_said(text: str, told: str) -> None:
    with pytest.raises(SimulatorError, match=told):
        parse_faults(text)


def test_duplicates_of_history_and_live_agree(city: City) -> None:
    live = honest(city)
    row, time = next(iter(live))
    kind = city.catalogue.kind_of[city.fleet[row].kind]
    values = city.values(kind.name, np.array([row]), np.array([time]))[0]
    assert json.loads(live[row, time]) == {
        "ts": time // 1000,
        **dict(zip(kind.columns, values.tolist(), strict=True)),
    }
