"""Numbers of readings and their receipts, without clock, event loop or servers."""

from __future__ import annotations

import itertools
import json

import mqtt5
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.arrivals import Arrivals
from ingest.decode import LARGEST_NUMBER, compile_decoder, take_apart
from ingest.intake import Cut
from ingest.letters import LetterPolicy, LetterQuota
from ingest.receipts import ReceiptPolicy, Receipts
from ingest.routes import Routes
from ingest.sequence import runs
from sensors.catalogue import Catalogue, builtin_file
from sensors.checks import Reason, TimeWindow
from sensors.times import SECOND
from sensors.topics import Topics
from tests.ingest.test_parts import NOW, packet

NOISE = {kind.name: kind for kind in builtin_file("kinds").kind}["noise"]


@pytest.fixture
def cut(catalogue: Catalogue) -> Cut:
    routes = Routes(Topics())
    routes.set_catalogue(catalogue)
    routes.add([(1, "a", "noise", 60.0), (2, "b", "noise", 60.0), (3, "c", "weather", 60.0)])
    return Cut(routes, Arrivals())


def numbered(cut: Cut) -> dict[int, list[tuple[int, int, int]]]:
    """Return the runs of a cut as (first, last, oldest), by device."""
    found: dict[int, list[tuple[int, int, int]]] = {}
    if (numbers := cut.numbers()) is not None:
        columns = (numbers.device, numbers.first, numbers.last, numbers.oldest)
        for device, *run in zip(*(column.tolist() for column in columns), strict=True):
            found.setdefault(device, []).append((run[0], run[1], run[2]))
    return found


# -- runs -----------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 30) | st.integers(1, LARGEST_NUMBER), st.integers(1, 9)),
        min_size=1,
    )
)
def test_runs_are_the_numbers_that_were_given(given_: list[tuple[int, int, int]]) -> None:
    device, number, oldest = (np.array(column) for column in zip(*given_, strict=True))
    made = runs(device.astype(np.int32), number.astype(np.int64), oldest.astype(np.int64))
    edges = list(zip(made.device.tolist(), made.first.tolist(), made.last.tolist(), strict=True))
    assert edges == sorted(edges)
    for (device_a, _, last), (device_b, first, _) in itertools.pairwise(edges):
        assert device_a != device_b or last + 1 < first, "what touches is one run"
    assert sum(last - first + 1 for _, first, last in edges) == len({(d, n) for d, n, _ in given_})
    for one in {d for d, _, _ in given_}:
        assert made.oldest[made.device == one].max() == max(o for d, _, o in given_ if d == one)
    for one, value, _ in given_:
        assert any(one == d and first <= value <= last for d, first, last in edges)


# -- a cut ----------------------------------------------------------------------------------------


def test_readings_without_a_number_leave_no_trace(cut: Cut) -> None:
    cut.feed([packet(b'{"laeq": 1}'), packet(b'{"seq": null, "laeq": 1}')], NOW)
    assert cut.numbers() is None
    cut.check(NOW, TimeWindow())
    assert cut.clockless == []


def test_every_shape_may_be_numbered(cut: Cut) -> None:
    seconds = NOW // SECOND
    cut.feed(
        [
            packet(f'{{"seq": 5, "oldest": 2, "ts": {seconds}, "laeq": 1}}'.encode()),
            packet(f'{{"seq": 6, "ts": {seconds + 1}, "values": {{"laeq": 1}}}}'.encode()),
            packet(b'{"seq": 7, "ts": "2026-01-01T00:00:02Z", "laeq": 1}'),
            packet(b'{"seq": 1, "laeq": 1}', device="b"),
            packet(
                f'[{{"seq": 9, "ts": {seconds}, "humidity": 1}}, {{"ts": {seconds + 1}, "humidity": 1}}]'.encode(),
                device="c",
            ),
        ],
        NOW,
    )
    assert numbered(cut) == {1: [(5, 7, 2)], 2: [(1, 1, 1)], 3: [(9, 9, 1)]}


@pytest.mark.parametrize(
    "payload",
    [
        b'{"seq": 4, "laeq": "loud"}',
        b'{"seq": 4, "laeq": 9999}',
        b'{"seq": 4, "ts": 0, "laeq": 50}',
        b'{"seq": 4, "ts": "yesterday", "laeq": 50}',
        b'{"seq": 4}',
        b'{"seq": 4, "loudness": 50}',
        b'[{"seq": 4, "laeq": 50}, 7]',
        b'[{"seq": 4}' + b",7" * 10_000 + b"]",
    ],
)
def test_a_refused_reading_is_kept_as_a_letter_and_so_is_its_number(cut: Cut, payload: bytes) -> None:
    cut.feed([packet(payload)], NOW)
    assert cut.check(NOW, TimeWindow()) == []
    assert cut.clockless == []
    assert numbered(cut) == {1: [(4, 4, 1)]}
    (letter,) = cut.settle(LetterQuota(), NOW).kept
    assert letter.is_repeated, "sent again for want of a receipt, it is the same letter"


def test_a_refused_reading_that_is_sent_again_is_one_letter(cut: Cut) -> None:
    cut.feed([packet(b'{"seq": 4}'), packet(b'{"seq": 4}'), packet(b'{"seq": 5}')], NOW)
    cut.feed([packet(b"{}"), packet(b"{}"), packet(b'{"seq": 4}', device="b")], NOW + 3)
    cut.check(NOW, TimeWindow())
    assert len(cut.faulty) == 6
    assert len(cut.settle(LetterQuota(), NOW).kept) == 5, (
        "without a number nobody knows that they are the same"
    )


def test_a_number_whose_message_is_only_counted_is_not_entered(cut: Cut) -> None:
    """Its bytes are nowhere but with its device, which has to keep them."""
    cut.feed([packet(b'{"seq": 1, "laeq": "x"}'), packet(b'{"seq": 2, "laeq": "y"}')], NOW)
    cut.feed([packet(b'{"seq": 3, "laeq": 50}'), packet(b'{"seq": 4, "laeq": 50, "loudness": 1}')], NOW + 2)
    cut.check(NOW, TimeWindow())
    letters = cut.settle(LetterQuota(LetterPolicy(each=1)), NOW)
    assert [letter.payload for letter in letters.kept] == [
        b'{"seq": 1, "laeq": "x"}',
        b'{"seq": 4, "laeq": 50, "loudness": 1}',
    ]
    assert [fold.count for fold in letters.folds] == [1]
    assert numbered(cut) == {1: [(1, 1, 1), (3, 4, 1)]}


def test_a_number_that_keeps_a_row_from_being_stored_again_is_always_entered(cut: Cut) -> None:
    bad = [b'{"seq": %d, "laeq": 50, "loudness": 1}' % number for number in (1, 2, 3)]
    cut.feed([packet(payload) for payload in bad], NOW)
    cut.check(NOW, TimeWindow())
    letters = cut.settle(LetterQuota(LetterPolicy(each=1)), NOW)
    assert ([letter.payload for letter in letters.kept], letters.folds) == (bad, [])
    assert numbered(cut) == {1: [(1, 3, 1)]}


def test_a_message_that_the_database_refuses_keeps_its_number_as_a_letter(cut: Cut) -> None:
    cut.feed([packet(b'{"seq": 4, "laeq": 50}')], NOW)
    cut.check(NOW, TimeWindow())
    assert len(cut.clockless) == 1
    cut.refuse("for a test")
    assert (cut.check(NOW, TimeWindow()), cut.clockless) == ([], [])
    assert numbered(cut) == {1: [(4, 4, 1)]}


def test_a_number_that_is_none_costs_nothing_but_the_number(cut: Cut) -> None:
    cut.feed([packet(b'{"seq": -1, "laeq": 50}'), packet(b'{"seq": 3, "oldest": 4, "laeq": 51}')], NOW)
    (batch,) = cut.check(NOW, TimeWindow())
    assert batch.values[:, 0].tolist() == [50]
    assert numbered(cut) == {1: [(3, 3, 1)]}
    assert [letter.reason for letter in cut.letters()] == [Reason.BAD_SEQUENCE] * 2
    details = [letter.detail for letter in cut.letters()]
    assert details[0] == '"seq" is -1; send a whole number from 1 to 9007199254740991'
    assert details[1] == '"oldest" 4 is above "seq" 3; send the lowest number that the device still keeps'


def test_numbered_readings_without_a_time_are_set_apart(cut: Cut) -> None:
    cut.feed([packet(b'{"seq": 1, "laeq": 1}'), packet(b'{"laeq": 2}')], NOW)
    cut.feed([packet(b'{"seq": 2, "laeq": 999}'), packet(b'{"seq": 3, "laeq": 3}')], NOW + 10)
    (batch,) = cut.check(NOW, TimeWindow())
    assert batch.values[:, 0].tolist() == [2]
    (clockless,) = cut.clockless
    assert clockless.readings.values[:, 0].tolist() == [1, 3]
    assert clockless.number.tolist() == [1, 3]
    assert clockless.readings.time.tolist() == [NOW, NOW + 11]
    assert numbered(cut) == {1: [(1, 3, 1)]}


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3))


@given(st.fixed_dictionaries({"laeq": st.just(50)}, optional={"seq": values, "oldest": values}))
def test_the_hot_path_takes_only_numbers_that_taking_apart_would(reading: dict[str, object]) -> None:
    payload = json.dumps(reading).encode()
    slow = take_apart(payload, NOISE)
    try:
        fast = compile_decoder(NOISE)(payload)
    except ValueError:
        return
    if (fast.seq or 0) >= (fast.oldest or 1):
        (one,) = slow.numbered
        assert (one.number, one.oldest or 1, slow.faults) == (fast.seq, fast.oldest or 1, [])


def test_halves_of_a_cut_have_its_numbers(cut: Cut) -> None:
    cut.feed([packet(f'{{"seq": {n}, "laeq": 1}}'.encode(), packet_id=n) for n in range(1, 6)], NOW)
    first, second = cut.halves()
    assert numbered(first) == {1: [(1, 2, 1)]}
    assert numbered(second) == {1: [(3, 5, 1)]}


def test_a_number_of_a_device_registered_in_between_is_found(cut: Cut) -> None:
    cut.feed([mqtt5.PublishPacket("alatau/v1/new/telemetry", b'{"seq": 1, "laeq": 1}')], NOW)
    assert cut.numbers() is None
    cut.routes.add([(9, "new", "noise", 60.0)])
    cut.route_again()
    assert numbered(cut) == {9: [(1, 1, 1)]}


# -- receipts -------------------------------------------------------------------------------------


def told(receipts: list[tuple[str, bytes]]) -> list[tuple[str, int]]:
    return [(device, json.loads(payload)["through"]) for device, payload in receipts]


def test_a_receipt_says_one_thing() -> None:
    receipts = Receipts()
    receipts.note("a", 7)
    assert receipts.due(NOW) == [("a", b'{"through":7}')]


def test_a_device_is_told_once_a_second_and_the_last_word_always_follows() -> None:
    receipts, heard = Receipts(), []
    for number in range(12):
        now = NOW + number * SECOND // 4
        if number < 9:
            receipts.note("a", number)
        heard += [(number, through) for _, through in told(receipts.due(now))]
    assert heard == [(0, 0), (4, 4), (8, 8)]
    receipts.note("a", 9)
    receipts.note("b", 1)
    assert told(receipts.due(NOW + 11 * SECOND // 4)) == [("b", 1)]
    assert told(receipts.due(NOW + 3 * SECOND)) == [("a", 9)]
    assert receipts.due(NOW + 9 * SECOND) == [], "what was told is not told again by itself"


def test_a_clock_that_was_set_back_does_not_keep_a_device_from_its_receipt() -> None:
    receipts = Receipts()
    for number, now in enumerate((NOW, NOW - 3600 * SECOND, NOW - 3598 * SECOND)):
        receipts.note("a", number)
        assert told(receipts.due(now)) == [("a", number)]


def test_the_same_again_is_told_again() -> None:
    receipts = Receipts()
    for second in range(3):
        receipts.note("a", 5)
        assert told(receipts.due(NOW + second * SECOND)) == [("a", 5)]


def test_a_worker_that_ends_tells_what_waits() -> None:
    receipts = Receipts()
    receipts.note("a", 1)
    receipts.due(NOW)
    receipts.note("a", 2)
    assert told(receipts.rest(NOW + 1)) == [("a", 2)]


def test_what_waits_and_what_is_remembered_are_bounded() -> None:
    receipts = Receipts(ReceiptPolicy(devices=3))
    for number in range(10):
        receipts.note(str(number), number)
    assert [device for device, _ in receipts.due(NOW)] == ["7", "8", "9"]
    receipts.due(NOW + SECOND)
    assert not receipts._told


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 400_000), st.booleans()), max_size=60))
def test_no_device_is_told_twice_in_a_second_and_none_stays_untold(
    steps: list[tuple[str, int, bool]],
) -> None:
    receipts, now = Receipts(), NOW
    noted: dict[str, int] = {}
    heard: dict[str, tuple[int, int]] = {}

    def hear() -> None:
        for device, through in told(receipts.due(now)):
            assert device not in heard or now - heard[device][0] >= SECOND
            heard[device] = (now, through)

    for number, (device, pause, is_looked_at) in enumerate(steps):
        receipts.note(device, number)
        noted[device] = number
        now += pause
        if is_looked_at:
            hear()
    now += SECOND
    hear()
    assert {device: through for device, (_, through) in heard.items()} == noted
