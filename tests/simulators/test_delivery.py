"""Simulated cities at the stored level: numbered, kept until the receipt, sent again."""

from __future__ import annotations

import datetime as dt
import json
import random
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from broker.accounts import Service, dynamic_security_file
from broker.secrets import hash_secret
from sensors.catalogue import Catalogue
from sensors.fleet import plan_fleet
from sensors.topics import Topics
from simulators.connection import Account, Broker
from simulators.delivery import Level, StoredDelivery
from simulators.encode import readings_in
from simulators.errors import BrokerError
from simulators.faults import parse_faults
from simulators.options import Clock, Progress, SimulateOptions
from simulators.outgoing import Outgoing
from simulators.publisher import Publisher
from simulators.run import run
from stack.servers import Servers
from tests.simulators.conftest import Listener, LocalBroker, wait_for
from tests.simulators.platform import Platform
from tests.simulators.test_run import Running, fast_fleet

pytestmark = pytest.mark.servers


@pytest.fixture
def platform(broker: LocalBroker) -> Iterator[Platform]:
    """Receipts."""
    opened = Platform(broker)
    yield opened
    opened.close()


def whole(platform: Platform, device: str) -> bool:
    """Whether the device's numbers have no gap."""
    numbers = platform.numbers(device)
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("per_device", [False, True])
def test_every_reading_is_numbered_and_its_receipt_counted(
    broker: LocalBroker, platform: Platform, catalogue: Catalogue, per_device: bool
) -> None:
    fleet = fast_fleet(catalogue, 30)
    options = SimulateOptions(
        broker.url, delivery=Level.STORED, per_device=per_device, connections=3, count=300
    )
    progress = Running(options, catalogue, fleet).result()
    assert progress.readings == progress.published == progress.stored == 300
    assert (progress.resent, progress.waiting, progress.dropped) == (0, 0, 0)
    assert sum(len(readings) for readings in platform.kept.values()) == 300
    assert all(whole(platform, device.id) for device in fleet)
    assert not platform.unnumbered


def test_history_is_numbered_too_and_goes_on_into_live(
    broker: LocalBroker, platform: Platform, catalogue: Catalogue
) -> None:
    fleet = fast_fleet(catalogue, 10)
    options = SimulateOptions(broker.url, delivery=Level.STORED, count=40, history=dt.timedelta(seconds=100))
    progress = Running(options, catalogue, fleet).result()
    assert progress.stored == progress.readings == 40 + 10 * 400
    assert progress.published == 40 + 10 * 8
    assert all(whole(platform, device.id) for device in fleet)


def test_a_second_run_does_not_use_the_numbers_of_the_first(
    broker: LocalBroker, platform: Platform, catalogue: Catalogue
) -> None:
    options = SimulateOptions(broker.url, delivery=Level.STORED, rate=200, count=100)
    fleet = plan_fleet(catalogue, 10)
    for times in (1, 2):
        progress = Running(options, catalogue, fleet).result()
        assert progress.stored == 100
        assert {len(platform.kept[device.id]) for device in fleet} == {10 * times}
    assert platform.repeated == 0


def test_a_broker_that_forgets_everything_costs_the_city_nothing(
    broker: LocalBroker, platform: Platform, catalogue: Catalogue
) -> None:
    options = SimulateOptions(broker.url, delivery=Level.STORED, rate=400, drain_timeout=30)
    fleet = plan_fleet(catalogue, 20)
    running = Running(options, catalogue, fleet)
    wait_for(lambda: running.last.stored > 0)
    platform.close()
    acknowledged = running.last.acknowledged
    wait_for(lambda: running.last.acknowledged > acknowledged + 300)
    broker.stop(signal.SIGKILL)
    broker.start()
    second = Platform(broker)
    try:
        second.kept, second.through = platform.kept, platform.through
        wait_for(lambda: running.last.reconnects > 0, 30)
        progress = running.end()
        assert progress.waiting == progress.dropped == 0
        assert progress.stored == progress.readings
        assert progress.resent >= 300
        assert sum(len(readings) for readings in second.kept.values()) == progress.readings
        assert all(whole(second, device.id) for device in fleet)
    finally:
        second.close()


def test_all_without_a_receipt_is_sent_again_as_soon_as_there_is_a_connection(broker: LocalBroker) -> None:
    """The clock of the receipts stands still: no time-out helps."""
    publisher = Publisher(
        Broker.at(broker.url),
        [Account("gateway", receipts="alatau/v1/+/stored")],
        window=100,
        rng=random.Random(1),  # noqa: S311
        monotonic=time.monotonic,
    )
    telemetry, stored = (
        [f"alatau/v1/{name}/{channel}" for name in "ab"] for channel in ("telemetry", "stored")
    )
    delivery = StoredDelivery(publisher, telemetry, stored, now=lambda: 1_000, monotonic=lambda: 0.0)

    def pumped() -> None:
        publisher.pump(0.05)
        delivery.resend()

    def is_acknowledged() -> bool:
        pumped()
        return publisher.in_flight == 0

    def is_stored() -> bool:
        pumped()
        return delivery.waiting == 0

    publisher.open(10, lambda: False)
    for number in range(20):
        assert delivery.offer(Outgoing(0, number % 2, b'{"ts":%d}' % number))
    wait_for(is_acknowledged)
    broker.stop(signal.SIGKILL)
    broker.start()
    platform = Platform(broker)
    try:
        wait_for(is_stored)
        assert (delivery.stored, delivery.resent) == (20, 20)
        for device in "ab":
            assert platform.numbers(device) == list(range(1_000, 1_010))
            assert platform.messages[device] == 1, "what has piled up comes in one message"
    finally:
        publisher.close(5)
        platform.close()


def test_a_receipt_that_does_not_come_is_asked_for_by_sending_again(
    broker: LocalBroker, platform: Platform, catalogue: Catalogue
) -> None:
    ahead = {"seconds": 0.0}

    def report(progress: Progress) -> None:
        """Let the time for a receipt pass as soon as everything has been sent."""
        if progress.waiting == 50:
            platform.is_mute = False
            ahead["seconds"] = 11.0

    platform.is_mute = True
    progress = run(
        SimulateOptions(broker.url, delivery=Level.STORED, rate=100, count=50, drain_timeout=60),
        catalogue,
        plan_fleet(catalogue, 5),
        report,
        threading.Event(),
        clock=Clock(monotonic=lambda: time.monotonic() + ahead["seconds"]),
    )
    assert (progress.stored, progress.resent) == (50, 50)
    # What had piled up came in one message for each device.
    assert platform.repeated == 50
    assert set(platform.messages.values()) == {11}


def test_faults_are_sent_without_a_number_and_the_others_have_no_gap(
    broker: LocalBroker, platform: Platform, catalogue: Catalogue
) -> None:
    faults = parse_faults("dropout=0.1,duplicate=0.1,malformed=0.1,late=0.2,spike=0.1")
    fleet = plan_fleet(catalogue, 20)
    options = SimulateOptions(broker.url, delivery=Level.STORED, rate=400, count=400, faults=faults)
    progress = Running(options, catalogue, fleet).result()
    wait_for(lambda: progress.waiting == 0)
    assert 0 < progress.stored < progress.readings
    assert platform.unnumbered
    assert all(whole(platform, device.id) for device in fleet)


def test_a_number_stands_beside_the_reading_and_what_came_before_is_declared(
    broker: LocalBroker, listener: Listener, platform: Platform, catalogue: Catalogue
) -> None:
    fleet = fast_fleet(catalogue, 10)
    Running(SimulateOptions(broker.url, delivery=Level.STORED, count=100), catalogue, fleet).result()
    wait_for(lambda: len(listener.of("telemetry")) == 100)
    assert sum(len(readings) for readings in platform.kept.values()) == 100
    declared: set[tuple[str, bool]] = set()
    for topic, payload in listener.of("telemetry"):
        reading = json.loads(payload)
        oldest = reading.pop("oldest", None)
        number = reading.pop("seq")
        assert oldest in (None, min(platform.kept[topic.split("/")[2]]))
        declared.add((topic, oldest is not None))
        assert platform.kept[topic.split("/")[2]][number] == reading
    assert len({topic for topic, is_declared in declared if is_declared}) == 10


def test_an_account_that_may_not_hear_receipts_is_an_error_that_says_so(
    broker: LocalBroker, servers: Servers, catalogue: Catalogue
) -> None:
    """Dynamic security alone says so; with an access file beside it Mosquitto grants every subscription."""
    accounts = {Service.ADMIN: hash_secret("secret")}
    broker.stop()
    file = broker.directory / "accounts.json"
    file.write_bytes(dynamic_security_file(Topics(), (), accounts, []))
    file.chmod(0o644)
    broker.settings = f"plugin {servers.dynamic_security_plugin}\nplugin_opt_config_file {file}"
    broker.start()
    options = SimulateOptions(broker.url, Service.ADMIN, "secret", delivery=Level.STORED, rate=10)
    with pytest.raises(BrokerError, match=r"alatau/v1/\+/stored"):
        Running(options, catalogue, plan_fleet(catalogue, 4)).result()


def test_an_array_comes_apart_into_its_readings() -> None:
    assert readings_in(b'{"ts":1,"a":2}') == [b'{"ts":1,"a":2}']
    assert readings_in(b'[{"ts":1}]') == [b'{"ts":1}']
    assert readings_in(b'[{"ts":1,"a":2},{"ts":2,"a":3}]') == [b'{"ts":1,"a":2}', b'{"ts":2,"a":3}']
