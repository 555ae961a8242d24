"""The reference client against a real broker: killed, cut off, unheard; every number arrives."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from simulators.connection import Broker
from simulators.journal import Journal
from simulators.reference import StoredPublisher
from stack.ports import free_port
from tests.simulators.conftest import LocalBroker, wait_for
from tests.simulators.platform import Platform

pytestmark = pytest.mark.servers

DEVICE = "lamp-17"
# Publishes for ever and says the number of each reading that it has kept.
PROGRAM = """
import itertools, pathlib, sys
from simulators.connection import Broker
from simulators.journal import Journal
from simulators.reference import StoredPublisher
url, path, count = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
with Journal(path) as journal, StoredPublisher(Broker.at(url), "lamp-17", "", journal) as device:
    for at in itertools.count() if count < 0 else range(count):
        print(device.publish({"power": at}, 1_795_000_000 + at), flush=True)
        device.wait_stored(0.001)
    device.wait_stored()
"""


@pytest.fixture
def platform(broker: LocalBroker) -> Iterator[Platform]:
    """Receipts."""
    opened = Platform(broker)
    yield opened
    opened.close()


def connected(broker: LocalBroker, journal: Journal, **options: object) -> StoredPublisher:
    return StoredPublisher(Broker.at(broker.url), DEVICE, "", journal, **options)  # type: ignore[arg-type]


def test_every_reading_is_stored_and_forgotten(
    broker: LocalBroker, platform: Platform, tmp_path: pathlib.Path
) -> None:
    with Journal(tmp_path / "spool") as journal, connected(broker, journal) as device:
        numbers = [device.publish({"power": 0.5, "switched_on": True}, 1_795_000_000 + n) for n in range(500)]
        assert numbers == list(range(1, 501))
        assert device.wait_stored(10)
        assert (device.counts.published, device.counts.stored, device.counts.resent) == (500, 500, 0)
        assert device.waiting == 0
    assert platform.numbers(DEVICE) == numbers
    assert platform.kept[DEVICE][1] == {"ts": 1_795_000_000, "values": {"power": 0.5, "switched_on": True}}


def started(broker: LocalBroker, spool: pathlib.Path, count: int) -> subprocess.Popen[str]:
    project = pathlib.Path(__file__).parents[2]
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM, broker.url, str(spool), str(count)],
        env={**os.environ, "PYTHONPATH": str(project)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_device_killed_in_mid_stream_loses_nothing(
    broker: LocalBroker, platform: Platform, tmp_path: pathlib.Path
) -> None:
    published: list[int] = []
    for mute in (False, True, False):
        platform.is_mute = mute
        before = len(platform.kept[DEVICE])
        process = started(broker, tmp_path / "spool", -1)
        try:
            wait_for(lambda before=before: len(platform.kept[DEVICE]) > before + 50)  # type: ignore[misc]
        finally:
            process.kill()
            said, _ = process.communicate()
        published += [int(line) for line in said.splitlines()]
    last = started(broker, tmp_path / "spool", 10)
    said, _ = last.communicate(timeout=20)
    published += [int(line) for line in said.splitlines()]
    assert last.returncode == 0
    assert len(set(published)) == len(published), "no number is given twice"
    # One may have been kept whose number the process did not live to say.
    assert set(published) <= set(platform.numbers(DEVICE)) == set(range(1, published[-1] + 1))
    assert published[-1] - len(published) <= 3


def test_a_broker_that_forgets_everything_costs_nothing(
    broker: LocalBroker, platform: Platform, tmp_path: pathlib.Path
) -> None:
    with Journal(tmp_path / "spool") as journal, connected(broker, journal) as device:
        device.publish({"power": 1}, 1)
        assert device.wait_stored(10)
        platform.close()
        for ts in range(2, 50):
            device.publish({"power": 1}, ts)
        # PUBACKs come, and nobody is there to hear the readings.
        wait_for(lambda: journal.spool.is_sent)
        broker.stop(signal.SIGKILL)
        for ts in range(50, 100):
            device.publish({"power": 1}, ts)
        broker.start()
        second = Platform(broker)
        try:
            # It goes on with what the first one had.
            second.kept, second.through = platform.kept, platform.through
            assert device.wait_stored(30)
            assert second.numbers(DEVICE) == list(range(1, 100))
            assert device.counts.resent >= 48
        finally:
            second.close()


def test_all_without_a_receipt_is_sent_again_as_soon_as_there_is_a_connection(
    broker: LocalBroker, tmp_path: pathlib.Path
) -> None:
    """The clock stands still: no time-out helps."""
    with Journal(tmp_path / "spool") as journal:
        with connected(broker, journal) as device:
            for ts in range(1, 31):
                device.publish({"power": 1}, ts)
            wait_for(lambda: journal.spool.is_sent)
        platform = Platform(broker)
        try:
            with connected(broker, journal, monotonic=lambda: 0.0) as device:
                assert device.wait_stored(10)
                assert device.counts.resent == 30
            assert platform.numbers(DEVICE) == list(range(1, 31))
        finally:
            platform.close()


def test_a_receipt_that_was_lost_is_asked_for_by_sending_again(
    broker: LocalBroker, platform: Platform, tmp_path: pathlib.Path
) -> None:
    clock = {"ahead": 0.0}

    def monotonic() -> float:
        return clock["ahead"]

    platform.is_mute = True
    with Journal(tmp_path / "spool") as journal, connected(broker, journal, monotonic=monotonic) as device:
        device.publish({"power": 1}, 1)
        device.publish({"power": 1}, 2)
        wait_for(lambda: platform.numbers(DEVICE) == [1, 2])
        assert device.counts.resent == 0
        clock["ahead"] = 11.0
        wait_for(lambda: platform.repeated == 2)
        platform.is_mute = False
        clock["ahead"] = 32.0
        assert device.wait_stored(10)
        assert device.counts.resent == 4


def test_what_a_full_spool_gave_up_is_told_and_not_waited_for(
    broker: LocalBroker, platform: Platform, tmp_path: pathlib.Path
) -> None:
    with Journal(tmp_path / "spool", limit=20) as journal:
        unsent = connected(broker, journal)
        for ts in range(1, 51):
            unsent.publish({"power": 1}, ts)
        assert unsent.counts.dropped == 30
        with connected(broker, journal) as device:
            assert device.wait_stored(10)
    assert platform.numbers(DEVICE) == list(range(31, 51))
    assert platform.through[DEVICE] == 50


def test_a_device_that_lost_its_memory_does_not_take_an_old_receipt_for_its_own(
    broker: LocalBroker, platform: Platform, tmp_path: pathlib.Path
) -> None:
    with Journal(tmp_path / "first") as journal, connected(broker, journal) as device:
        for ts in range(1, 41):
            device.publish({"power": 1}, ts)
        assert device.wait_stored(10)
    first = dict(platform.kept.pop(DEVICE))
    with Journal(tmp_path / "second") as journal, connected(broker, journal, now=lambda: 1.795e9) as device:
        for ts in range(41, 46):
            device.publish({"power": 2}, ts)
        assert device.wait_stored(10)
        assert device.publish({"power": 2}, 46) == int(1.795e15) + 5
        assert device.wait_stored(10)
    assert len(first) == 40
    under_new = [reading["ts"] for number, reading in platform.kept[DEVICE].items() if number >= 1.795e15]
    assert under_new == [41, 42, 43, 44, 45, 46]


def test_a_platform_restored_from_an_old_backup_does_not_wait_for_what_is_gone(
    broker: LocalBroker, platform: Platform, tmp_path: pathlib.Path
) -> None:
    clock = {"now": 0.0}
    with (
        Journal(tmp_path / "spool") as journal,
        connected(broker, journal, monotonic=lambda: clock["now"]) as device,
    ):
        for ts in range(1, 11):
            device.publish({"power": 1}, ts)
        assert device.wait_stored(10)
        platform.kept.clear()
        platform.through.clear()
        device.publish({"power": 1}, 11)
        wait_for(lambda: platform.numbers(DEVICE) == [11])
        assert device.waiting == 1
        clock["now"] = 11.0
        assert device.wait_stored(10)
    assert platform.through[DEVICE] == 11


def test_a_broker_that_is_not_there_is_waited_for(tmp_path: pathlib.Path) -> None:
    nowhere = Broker("127.0.0.1", free_port())
    with Journal(tmp_path / "spool") as journal:
        with StoredPublisher(nowhere, DEVICE, "", journal) as device:
            device.publish({"power": 1}, 1)
            wait_for(lambda: "refused" in device.problem)
            assert not device.wait_stored(0)
        assert device.waiting == 1


def test_refusals_of_readings_are_passed_on(
    broker: LocalBroker, platform: Platform, tmp_path: pathlib.Path
) -> None:
    told: list[str] = []
    with (
        Journal(tmp_path / "spool") as journal,
        connected(broker, journal, on_refusal=told.append) as device,
    ):
        device.publish({"power": 1}, 1)
        assert device.wait_stored(10)
        platform.tell(DEVICE, '{"reason": "unknown_metric"}')
        wait_for(lambda: told == ['{"reason": "unknown_metric"}'])


def test_a_reading_that_is_no_json_is_refused_and_takes_no_number(
    broker: LocalBroker, tmp_path: pathlib.Path
) -> None:
    with Journal(tmp_path / "spool") as journal:
        device = connected(broker, journal)
        with pytest.raises(ValueError, match="JSON"):
            device.publish({"power": float("nan")}, 1)
        assert device.publish({"power": None}, 1) == 1
