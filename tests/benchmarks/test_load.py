"""What the load generator sends is what it says, and what it counts is what came back."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import random

import mqtt5
import orjson
import pytest

from benchmarks.bad import LEFT_OUT, REASONS, bad_message, choose_bad
from benchmarks.endurance import soak_load
from benchmarks.load import Load, Publisher, blocks, device_names, packets
from benchmarks.report import Measure, Result, as_markdown
from ingest.arrivals import Arrivals
from ingest.intake import Cut
from ingest.routes import Routes
from sensors.catalogue import Catalogue
from sensors.checks import Reason, TimeWindow
from sensors.times import SECOND
from sensors.topics import Topics

NOW = 1_767_225_600 * SECOND
LOAD = Load(count=2500, devices=7, metrics=5, start=NOW // 1000)


@pytest.fixture
def routes(catalogue: Catalogue) -> Routes:
    routes = Routes(Topics())
    routes.set_catalogue(catalogue)
    routes.add(
        (number, device, LOAD.kind, LOAD.step / 1000) for number, device in enumerate(device_names(LOAD), 1)
    )
    return routes


def read(packet: bytes) -> mqtt5.PublishPacket:
    decoded, _ = mqtt5.read(memoryview(packet))
    assert isinstance(decoded, mqtt5.PublishPacket)
    return decoded


def test_every_reason_that_leaves_nothing_to_store_is_made() -> None:
    assert set(REASONS) == set(Reason) - LEFT_OUT


@pytest.mark.parametrize("reason", REASONS)
def test_a_bad_message_is_refused_for_its_reason(
    reason: Reason, routes: Routes, catalogue: Catalogue
) -> None:
    device = device_names(LOAD)[3]
    topic, payload = bad_message(reason, catalogue.kind_of[LOAD.kind], device, LOAD.start)
    cut = Cut(routes, Arrivals())
    cut.feed([mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1)], NOW)
    cut.route_again()
    assert cut.check(NOW, TimeWindow()) == []
    assert [letter.reason for letter in cut.letters()] == [reason]


def test_good_and_bad_messages_are_as_many_as_the_load_says(routes: Routes) -> None:
    load = dataclasses.replace(LOAD, bad=0.5)
    cut = Cut(routes, Arrivals())
    cut.feed([read(packet) for packet in packets(load)], NOW)
    cut.route_again()
    (batch,) = cut.check(NOW, TimeWindow())
    assert len(batch.sorted_unique()) == load.good
    chosen = collections.Counter(REASONS[n] for n in choose_bad(load.count, load.bad, load.seed) if n >= 0)
    assert collections.Counter(letter.reason for letter in cut.letters()) == chosen
    assert 0.45 < chosen.total() / load.count < 0.55


def test_a_load_with_a_rate_sends_the_same_in_smaller_writes() -> None:
    fast, slow = list(blocks(LOAD)), list(blocks(dataclasses.replace(LOAD, rate=3000.0)))
    assert [count for _, count in fast] == [500] * 5
    assert {count for _, count in slow[:-1]} == {30}
    assert b"".join(block for block, _ in fast) == b"".join(block for block, _ in slow)


def test_readings_of_a_soak_are_as_far_apart_as_they_are_sent() -> None:
    load = soak_load(20_000, 1, NOW // 1000)
    stamps = [orjson.loads(read(packet).payload)["ts"] for packet in itertools.islice(packets(load), 20_000)]
    assert len(set(zip(stamps, itertools.cycle(range(1000)), strict=False))) == load.count
    assert stamps[-1] - stamps[0] == 950  # 20 readings of each device, 50 ms apart


def test_acknowledgements_are_counted_however_they_are_cut_up() -> None:
    plain, nobody, refused = b"\x40\x02\0\x01", b"\x40\x03\0\x02\x10", b"\x40\x04\0\x03\x87\0"
    answers = [plain] * 40 + [nobody] * 30 + [refused] * 3 + [b"\xd0\x00"] + [b"\x40\x03\0\x04\x87"] * 2
    shuffled = random.Random(1)  # noqa: S311 - an order, not a secret
    for _ in range(50):
        publisher = Publisher("name", "secret", 1000)
        stream = b"".join(answers)
        cuts = sorted(shuffled.sample(range(len(stream)), 7))
        for first, end in itertools.pairwise([0, *cuts, len(stream)]):
            publisher.data_received(stream[first:end])
        assert (publisher.acknowledged, publisher.refused) == (75, 5)
        shuffled.shuffle(answers)


def test_a_result_becomes_the_table_of_the_documentation() -> None:
    measures = [Measure("rate", 12345.6, "readings/s", "", 10_000), Measure("memory", 1.236, "MB")]
    lines = as_markdown(Result("ingest", {}, measures).as_dict()).splitlines()
    assert lines[2:] == ["| rate | 12,346 readings/s | yes |", "| memory | 1.24 MB |  |"]
