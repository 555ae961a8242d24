"""A device's memory under every order of events: nothing is forgotten before it is stored, or said to be lost."""

from __future__ import annotations

import json
import pathlib
import resource
import shutil
import signal
import tempfile

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from simulators.errors import SpoolError
from simulators.journal import Journal
from simulators.spool import MAX_MESSAGE_BYTES, NUMBERS_END, Patience, Spool, read_receipt

LIMIT = 6


class Device(RuleBasedStateMachine):
    """A device with a journal, a network that loses and reorders, and a platform that keeps to the contract."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="alatau-spool-"))
        self.journal = Journal(self.directory / "spool", LIMIT)
        self.published: dict[int, bytes] = {}
        self.network: list[bytes] = []
        self.receipts: list[int] = []
        self.kept: dict[int, bytes] = {}
        self.floor = 1
        self.through = 0

    def teardown(self) -> None:
        """Whatever has happened: when all works again, all is stored that was not said to be lost."""
        self.journal.spool.rewind()
        self.send_all()
        while self.network:
            self.deliver(0)
        if self.receipts:
            self.journal.receive(max(self.receipts))
        assert len(self.journal.spool) == 0
        assert {n for n in self.published if n not in self.kept} <= set(range(1, self.floor))
        self.journal.close()
        shutil.rmtree(self.directory)

    @rule(count=st.integers(1, 2 * LIMIT))
    def publish(self, count: int) -> None:
        for _ in range(count):
            reading = b'{"ts":%d}' % len(self.published)
            number = self.journal.push(reading)
            assert number == len(self.published) + 1, "numbers go up by one and are not used again"
            self.published[number] = reading

    @rule()
    def send(self) -> None:
        message, _ = self.journal.spool.take()
        if message:
            self.network.append(message)

    @rule()
    def send_all(self) -> None:
        while not self.journal.spool.is_sent:
            self.send()

    @precondition(lambda self: self.network)
    @rule(at=st.integers(0, 100))
    def deliver(self, at: int) -> None:
        """Commit a message, and answer it."""
        decoded = json.loads(self.network.pop(at % len(self.network)))
        readings = decoded if isinstance(decoded, list) else [decoded]
        numbers = [reading["seq"] for reading in readings]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        for reading in readings:
            self.kept[reading["seq"]] = b'{"ts":%d}' % reading["ts"]
            self.floor = max(self.floor, reading.get("oldest", 1))
        while self.through + 1 in self.kept or self.through + 1 < self.floor:
            self.through += 1
        self.receipts.append(self.through)

    @rule()
    def lose_the_connection(self) -> None:
        self.network.clear()
        self.journal.spool.rewind()

    @precondition(lambda self: self.receipts)
    @rule(at=st.integers(0, 100))
    def hear_a_receipt(self, at: int) -> None:
        """Any one, however old."""
        self.journal.receive(self.receipts[at % len(self.receipts)])

    @rule()
    def wait_too_long(self) -> None:
        self.journal.spool.rewind()

    @rule()
    def restart(self) -> None:
        before = self.journal.spool
        self.journal.close()
        self.journal = Journal(self.directory / "spool", LIMIT)
        after = self.journal.spool
        assert list(after.readings) == list(before.readings)
        assert (after.first, after.next, after.through) == (before.first, before.next, before.through)

    @rule()
    def be_killed(self) -> None:
        """Nothing is closed in order; the kernel closes the files."""
        killed = self.journal
        shutil.copy(self.directory / "spool", self.directory / "left")
        killed.close()
        shutil.move(self.directory / "left", self.directory / "spool")
        self.journal = Journal(self.directory / "spool", LIMIT)

    @invariant()
    def every_number_is_somewhere(self) -> None:
        spool = self.journal.spool
        told = max(self.floor, spool.oldest or 0)
        for number in self.published:
            assert number in self.kept or spool.first <= number < spool.next or number < told

    @invariant()
    def what_is_kept_is_what_was_published(self) -> None:
        spool = self.journal.spool
        assert len(spool) <= LIMIT
        for number, reading in enumerate(spool.readings, spool.first):
            assert self.published[number] == reading
        for number, reading in self.kept.items():
            assert self.published[number] == reading

    @invariant()
    def only_what_was_dropped_is_said_to_be_lost(self) -> None:
        spool = self.journal.spool
        lost = [n for n in range(spool.through + 1, spool.first) if n not in self.kept]
        assert not lost or spool.oldest == spool.first


TestDevice = Device.TestCase
TestDevice.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def filled(count: int, limit: int = 100_000, size: int = 10) -> Spool:
    spool = Spool(limit)
    for _ in range(count):
        spool.push(b'{"a":"%s"}' % (b"x" * size))
    return spool


def test_one_reading_is_an_object_and_many_are_an_array() -> None:
    spool = Spool(10)
    spool.push(b'{"ts":1}')
    assert spool.take() == (b'{"seq":1,"ts":1}', 0)
    spool.push(b'{"ts":2}')
    spool.push(b'{"ts":3}')
    assert spool.take() == (b'[{"seq":2,"ts":2},{"seq":3,"ts":3}]', 0)
    assert spool.take() == (b"", 0)


def test_what_is_sent_again_is_counted() -> None:
    spool = filled(3)
    spool.take()
    spool.push(b'{"ts":4}')
    spool.rewind()
    assert spool.take()[1] == 3
    spool.rewind()
    assert spool.take()[1] == 4


def test_a_full_spool_drops_its_oldest_and_says_so_until_a_receipt_has_passed_it() -> None:
    spool = filled(5, limit=3)
    assert (spool.dropped, spool.oldest, len(spool)) == (2, 3, 3)
    for _ in range(2):
        numbers = [(one["seq"], one.get("oldest")) for one in json.loads(spool.take()[0])]
        assert numbers == [(3, 3), (4, None), (5, None)]
        spool.rewind()
    spool.receive(2)
    assert spool.oldest is None


def test_what_is_kept_is_declared_once_whenever_sending_begins_again() -> None:
    spool = filled(5)
    spool.take()
    spool.receive(3)
    assert spool.take() == (b"", 0)
    spool.push(b'{"ts":6}')
    spool.rewind()
    assert [one.get("oldest") for one in json.loads(spool.take()[0])] == [4, None, None]
    spool.push(b'{"ts":7}')
    assert spool.take()[0] == b'{"seq":7,"ts":7}'


@given(sizes=st.lists(st.sampled_from([10, 1_000, 100_000, 250_000]), min_size=1, max_size=12))
def test_no_message_is_too_large_for_the_broker_and_none_is_empty(sizes: list[int]) -> None:
    spool = Spool(100, first=NUMBERS_END - 1_000)
    for size in sizes:
        spool.push(b'{"a":"%s"}' % (b"x" * size))
    arrived = []
    while not spool.is_sent:
        message, _ = spool.take()
        assert len(message) <= MAX_MESSAGE_BYTES
        decoded = json.loads(message)
        arrived += [len(reading["a"]) for reading in (decoded if isinstance(decoded, list) else [decoded])]
    assert arrived == sizes


def test_a_reading_that_fits_into_no_message_is_refused_and_takes_no_number(tmp_path: pathlib.Path) -> None:
    with Journal(tmp_path / "spool") as journal:
        with pytest.raises(ValueError, match="does not fit"):
            journal.push(b'{"a":"%s"}' % (b"x" * MAX_MESSAGE_BYTES))
        assert journal.push(b'{"ts":1}') == 1


def test_numbers_end_where_json_can_not_tell_them_apart() -> None:
    spool = Spool(10, first=NUMBERS_END - 1)
    spool.push(b'{"ts":1}')
    with pytest.raises(ValueError, match="used up"):
        spool.push(b'{"ts":2}')


@pytest.mark.parametrize(
    ("payload", "through"),
    [
        (b'{"through": 7}', 7),
        (b'{"through": 0, "more": 1}', 0),
        (b'{"through": true}', None),
        (b'{"through": 7.0}', None),
        (b'{"through": -1}', None),
        (b'{"through": 9007199254740992}', None),
        (b"[7]", None),
        (b"{", None),
        (b"\xff", None),
    ],
)
def test_only_a_receipt_is_taken_for_one(payload: bytes, through: int | None) -> None:
    assert read_receipt(payload) == through


def test_patience_doubles_up_to_a_limit_and_is_renewed_by_a_receipt() -> None:
    patience = Patience(100.0, first=10, limit=35)
    assert [now for now in range(100, 300) if patience.is_over(now)] == [110, 130, 165, 200, 235, 270]
    patience.renew(300.0)
    assert not patience.is_over(309.9)
    assert patience.is_over(310.0)


@settings(deadline=None)
@given(
    before=st.integers(0, 5),
    after=st.integers(0, 5),
    cut=st.integers(0, 200),
    rest=st.sampled_from([b"", b"\0" * 40, b"\0\n", b"\n"]),
)
def test_a_power_failure_costs_nothing_that_was_synced(
    before: int, after: int, cut: int, rest: bytes
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "spool"
        with Journal(path) as journal:
            for _ in range(before):
                journal.push(b'{"ts":1}')
            journal.sync()
            synced = path.stat().st_size
            for _ in range(after):
                journal.push(b'{"ts":2}')
        content = path.read_bytes()
        assume(synced + cut <= len(content))
        path.write_bytes(content[: synced + cut] + rest)
        for _ in range(2):
            with Journal(path) as journal:
                readings = list(journal.spool.readings)
                assert readings[:before] == [b'{"ts":1}'] * before
                assert readings[before:] == [b'{"ts":2}'] * (len(readings) - before)
                assert journal.spool.next == len(readings) + 1


def test_the_file_stays_in_proportion_to_what_is_kept(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "spool"
    with Journal(path, limit=50) as journal:
        for number in range(1, 5_001):
            journal.push(b'{"ts":1}')
            if number > 2_000:
                journal.receive(number)
            assert path.stat().st_size < 60_000
        assert journal.spool.next == 5_001
    with Journal(path) as journal:
        assert (journal.spool.next, len(journal.spool)) == (5_001, 0)


def test_what_was_dropped_does_not_come_back(tmp_path: pathlib.Path) -> None:
    with Journal(tmp_path / "spool", limit=3) as journal:
        for _ in range(5):
            journal.push(b'{"ts":1}')
    with Journal(tmp_path / "spool", limit=10) as journal:
        assert (journal.spool.first, journal.spool.next, journal.spool.oldest) == (3, 6, 3)


def test_a_second_process_does_not_get_the_file(tmp_path: pathlib.Path) -> None:
    with Journal(tmp_path / "spool"), pytest.raises(SpoolError, match="in use"):
        Journal(tmp_path / "spool")
    Journal(tmp_path / "spool").close()


def test_another_file_is_left_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "letter"
    path.write_text("Dear Aigerim\n")
    with pytest.raises(SpoolError, match="not a spool"):
        Journal(path)
    assert path.read_text() == "Dear Aigerim\n"


def test_a_place_that_can_not_be_written_is_an_error_that_names_it() -> None:
    with pytest.raises(SpoolError, match="/dev/null/spool"):
        Journal(pathlib.Path("/dev/null/spool"))


def test_a_full_disk_refuses_the_reading_and_spoils_nothing(tmp_path: pathlib.Path) -> None:
    """The limit of a file's size stands for the disk's."""

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signalled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = tmp_path / "spool"
    with Journal(path) as journal:
        journal.push(b'{"ts":1}')
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, hard))
            with pytest.raises(SpoolError, match="make room"):
                journal.push(b'{"ts":2}')
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, signalled)
        assert journal.push(b'{"ts":3}') == 2
    with Journal(path) as journal:
        assert list(journal.spool.readings) == [b'{"ts":1}', b'{"ts":3}']


def test_new_numbers_outlive_a_restart(tmp_path: pathlib.Path) -> None:
    with Journal(tmp_path / "spool") as journal:
        journal.push(b'{"ts":1}')
        journal.push(b'{"ts":2}')
        journal.renumber(1_000)
    with Journal(tmp_path / "spool") as journal:
        assert journal.spool.oldest == 1_000
        assert json.loads(journal.spool.take()[0]) == [
            {"seq": 1_000, "oldest": 1_000, "ts": 1},
            {"seq": 1_001, "ts": 2},
        ]
        assert journal.push(b'{"ts":3}') == 1_002
