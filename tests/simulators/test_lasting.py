"""Faults that last: as long as their truth says, on the wire as in the arrays, and of all that they concern."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sensors.catalogue import Catalogue
from sensors.fleet import plan_fleet
from sensors.times import DAY, SECOND, format_timestamp
from simulators.city import City
from simulators.compose import Composer
from simulators.faults import Fault, FaultInjector
from simulators.lasting import ABSENT_IN, EFFECTS, SPANS, Episode, Lasting, LastingFaults
from simulators.outgoing import ABSENT, STORED
from simulators.schedule import IntervalSchedule

START = 20_000 * DAY
OF_DEVICES = [Lasting.OUTAGE, Lasting.LOSSY, Lasting.FROZEN, Lasting.CREEP]


@pytest.fixture(scope="module")
def city(catalogue: Catalogue) -> City:
    """Two devices of each kind in each district."""
    return City(catalogue, plan_fleet(catalogue, 104), seed=1)


def episodes(city: City, fault: Lasting, share: float = 0.05, days: int = 40) -> list[Episode]:
    """Return what is on within some days."""
    return LastingFaults(city, {fault: share}).episodes(START, START + days * DAY)


@pytest.mark.parametrize("fault", OF_DEVICES)
def test_as_much_of_all_time_is_faulty_as_asked_for(city: City, fault: Lasting) -> None:
    found = episodes(city, fault)
    total = sum(min(e.end, START + 40 * DAY) - max(e.begin, START) for e in found)
    assert total / (104 * 40 * DAY) == pytest.approx(0.05, rel=0.35)
    assert all(SPANS[fault].shortest <= e.end - e.begin <= SPANS[fault].longest for e in found)


@pytest.mark.parametrize("fault", [fault for fault in Lasting if fault is not Lasting.LOSSY])
def test_readings_are_changed_within_an_episode_and_not_outside(city: City, fault: Lasting) -> None:
    episode = next(e for e in episodes(city, fault) if e.kind != "street_light")
    row = next(
        row
        for row, device in enumerate(city.fleet)
        if device.kind == episode.kind
        and episode.device in (None, device.id)
        and episode.district in (None, device.district)
    )
    kind = city.catalogue.kind_of[episode.kind]
    middle, last = (episode.begin + episode.end) // 2, episode.end - SECOND
    times = np.array([episode.begin - SECOND, middle, last, episode.end])
    rows = np.full(4, row)
    true = city.values(kind.name, rows, times)
    altered = LastingFaults(city, {fault: 0.05}).apply(kind, rows, times, true)
    assert (altered.fault >= 0).tolist() == [False, True, True, False]
    changed = (altered.values != true).any(axis=0)
    assert set(np.array(kind.columns)[changed]) <= set(episode.metrics)
    assert (altered.values[[0, 3]] == true[[0, 3]]).all()
    if fault is Lasting.FROZEN:
        column = kind.index[episode.metrics[0]]
        assert altered.values[1, column] == altered.values[2, column]


def test_a_lossy_device_loses_a_share_of_its_readings_within_an_episode_and_none_outside(city: City) -> None:
    episode = episodes(city, Lasting.LOSSY)[0]
    kind = city.catalogue.kind_of[episode.kind]
    row = next(row for row, device in enumerate(city.fleet) if device.id == episode.device)
    times = np.arange(episode.begin - 2 * 3600 * SECOND, episode.end + 3600 * SECOND, 60 * SECOND)
    rows = np.full(len(times), row)
    true = city.values(kind.name, rows, times)
    altered = LastingFaults(city, {Lasting.LOSSY: 0.05}).apply(kind, rows, times, true)
    within = (times >= episode.begin) & (times < episode.end)
    lost = altered.fault >= 0
    assert not lost[~within].any()
    assert 0.2 < lost[within].mean() < 0.8
    early, late = np.array_split(lost[within], 2)
    assert early.mean() == pytest.approx(late.mean(), abs=0.1), "the share is the same all the time"


def test_an_event_takes_all_devices_of_a_kind_in_its_district_and_no_other(city: City) -> None:
    event = episodes(city, Lasting.DISTRICT_EVENT)[0]
    kind = city.catalogue.kind_of[event.kind]
    rows = np.array([row for row, device in enumerate(city.fleet) if device.kind == event.kind])
    times = np.full(len(rows), (event.begin + event.end) // 2)
    altered = LastingFaults(city, {Lasting.DISTRICT_EVENT: 0.05}).apply(
        kind, rows, times, city.values(kind.name, rows, times)
    )
    districts = {city.fleet[row].district for row in rows[altered.fault >= 0].tolist()}
    hit = [row for row in rows.tolist() if city.fleet[row].district in districts]
    assert event.district in districts
    assert rows[altered.fault >= 0].tolist() == hit


def test_events_name_metrics_that_their_kinds_have(catalogue: Catalogue) -> None:
    for kind, effects in EFFECTS.items():
        assert set(effects) <= set(catalogue.kind_of[kind].columns)


@pytest.mark.parametrize("fault", list(Lasting))
def test_on_the_wire_each_changed_value_has_its_label(city: City, fault: Lasting) -> None:
    episode = episodes(city, fault)[0]
    start = (episode.begin + episode.end) // 2
    schedule = IntervalSchedule(city.interval, city.phase)
    injector = FaultInjector(city, {Fault(fault.value): 0.05}, schedule.spacing)
    span = (start, start + 900 * SECOND)
    true = {
        (m.row, m.due): m.payload
        for m in Composer(city).live(schedule, FaultInjector(city, {}, schedule.spacing), *span)
    }
    labelled = 0
    for message in Composer(city).live(schedule, injector, *span):
        fields = json.loads(true[message.row, message.due] or b"")
        for label in message.labels:
            labelled += 1
            assert (label.fault, label.time) == (fault.value, format_timestamp(message.due))
            assert label.expect == (ABSENT if fault in ABSENT_IN else STORED)
            if label.metric is not None:
                fields[label.metric] = label.sent
        assert message.payload is None or json.loads(message.payload) == pytest.approx(fields)
    assert labelled
