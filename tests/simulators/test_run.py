"""Whole simulations against a real broker."""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import datetime as dt
import hashlib
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest

from sensors.catalogue import Catalogue
from sensors.fleet import plan_fleet
from sensors.kinds import DeviceSpec
from sensors.times import parse_timestamp
from simulators.city import City
from simulators.errors import BrokerError, SimulatorError
from simulators.faults import Fault, parse_faults
from simulators.options import Clock, Phase, Progress, SimulateOptions
from simulators.run import run
from simulators.secrets import device_secret
from stack.ports import free_port
from tests.simulators.conftest import Listener, LocalBroker, wait_for

pytestmark = pytest.mark.servers


class Running:
    """A simulation in a thread of its own."""

    def __init__(self, options: SimulateOptions, catalogue: Catalogue, fleet: list[DeviceSpec]) -> None:
        self.stop = threading.Event()
        self.reports: list[Progress] = []
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._future = self._pool.submit(
            run,
            options,
            catalogue,
            fleet,
            self.reports.append,
            self.stop,
            secret_of=lambda device: device_secret("fleet", device),
        )

    @property
    def last(self) -> Progress:
        """The newest report, waited for."""
        wait_for(lambda: bool(self.reports) or self._future.done())
        return self.reports[-1]

    def end(self) -> Progress:
        """Stop it; returns the last progress, or raises what it raised."""
        self.stop.set()
        return self.result()

    def result(self) -> Progress:
        """Wait until it ends by itself."""
        try:
            return self._future.result(30)
        finally:
            self.stop.set()
            self._pool.shutdown()


def fast_fleet(catalogue: Catalogue, count: int, interval: str = "PT0.25S") -> list[DeviceSpec]:
    """Return devices that read several times a second."""
    return [
        DeviceSpec(spec.id, spec.kind, spec.district, interval=interval)
        for spec in plan_fleet(catalogue, count)
    ]


def readings(listener: Listener) -> Counter[tuple[str, int]]:
    """Count the readings that arrived, by device and time in ms."""
    found: Counter[tuple[str, int]] = Counter()
    for topic, payload in listener.of("telemetry"):
        decoded = json.loads(payload)
        for reading in decoded if isinstance(decoded, list) else [decoded]:
            found[topic.split("/")[2], reading["ts"]] += 1
    return found


def test_every_reading_is_acknowledged_once_and_says_what_the_city_is(
    broker: LocalBroker, listener: Listener, catalogue: Catalogue
) -> None:
    fleet = plan_fleet(catalogue, 26)
    options = SimulateOptions(broker.url, rate=800, count=400, connections=3)
    progress = Running(options, catalogue, fleet).result()
    assert progress.phase is Phase.STOPPED
    assert progress.published == progress.acknowledged == progress.readings == 400
    assert progress.refused == progress.in_flight == progress.skipped == 0
    wait_for(lambda: len(listener.of("telemetry")) >= 400)
    assert set(readings(listener).values()) == {1}
    city = City(catalogue, fleet, 1)
    rows = {device.id: row for row, device in enumerate(fleet)}
    for topic, payload in listener.of("telemetry"):
        row, fields = rows[topic.split("/")[2]], json.loads(payload)
        when = np.array([fields.pop("ts") * 1000])
        values = city.values(fleet[row].kind, np.array([row]), when)[0]
        assert list(fields.values()) == values.tolist()


def test_each_device_keeps_its_own_interval(
    broker: LocalBroker, listener: Listener, catalogue: Catalogue
) -> None:
    Running(SimulateOptions(broker.url, count=100), catalogue, fast_fleet(catalogue, 20)).result()
    wait_for(lambda: len(listener.of("telemetry")) >= 100)
    times: dict[str, list[int]] = {}
    for device, when in readings(listener):
        times.setdefault(device, []).append(when)
    assert len(times) == 20
    for of_device in times.values():
        assert {later - earlier for earlier, later in itertools.pairwise(sorted(of_device))} == {250}


def test_history_ends_where_live_begins(
    broker: LocalBroker, listener: Listener, catalogue: Catalogue
) -> None:
    options = SimulateOptions(broker.url, count=40, history=dt.timedelta(seconds=100))
    began = time.time()
    running = Running(options, catalogue, fast_fleet(catalogue, 10))
    progress = running.result()
    assert progress.fraction == 1.0
    assert progress.published == progress.acknowledged == 40 + 10 * 8
    wait_for(lambda: len(listener.of("telemetry")) >= progress.published)
    arrived = readings(listener)
    assert set(arrived.values()) == {1}
    assert sum(arrived.values()) == progress.readings == 40 + 10 * 400
    assert min(when for _, when in arrived) / 1000 == pytest.approx(began - 100, abs=2)
    for device in {device for device, _ in arrived}:
        times = sorted(when for name, when in arrived if name == device)
        assert {later - earlier for earlier, later in itertools.pairwise(times)} == {250}


def test_a_second_history_repeats_the_first_word_for_word(
    broker: LocalBroker, listener: Listener, catalogue: Catalogue
) -> None:
    options = SimulateOptions(broker.url, count=1, history=dt.timedelta(seconds=30))
    for _ in range(2):
        Running(options, catalogue, fast_fleet(catalogue, 3)).result()
    said: dict[tuple[str, int], set[str]] = {}
    for topic, payload in listener.of("telemetry"):
        decoded = json.loads(payload)
        for reading in decoded if isinstance(decoded, list) else [decoded]:
            said.setdefault((topic, reading["ts"]), set()).add(json.dumps(reading))
    assert {len(versions) for versions in said.values()} == {1}


def test_a_history_step_thins_the_history_out(
    broker: LocalBroker, listener: Listener, catalogue: Catalogue
) -> None:
    hour = dt.timedelta(hours=1)
    options = SimulateOptions(broker.url, count=0, history=hour, history_step=dt.timedelta(minutes=5))
    progress = Running(options, catalogue, plan_fleet(catalogue, 10)).result()
    assert progress.readings == 10 * 12
    assert progress.acknowledged == progress.published == 10
    wait_for(lambda: len(listener.of("telemetry")) == 10)


def test_accelerated_time_replays_the_past_and_stops_at_the_present(
    broker: LocalBroker, listener: Listener, catalogue: Catalogue
) -> None:
    options = SimulateOptions(broker.url, speed=3600, history=dt.timedelta(hours=1))
    running = Running(options, catalogue, plan_fleet(catalogue, 10))
    wait_for(lambda: len(listener.of("telemetry")) >= 590, 30)
    progress = running.end()
    wait_for(lambda: len(listener.of("telemetry")) == progress.published)
    arrived = readings(listener)
    assert sum(arrived.values()) == pytest.approx(600, abs=12)
    assert max(when for _, when in arrived) <= time.time() * 1000
    assert len(listener.of("telemetry")) == len(arrived)


def test_a_device_that_drops_out_says_so_and_says_when_it_is_back(
    broker: LocalBroker, listener: Listener, catalogue: Catalogue
) -> None:
    fleet = plan_fleet(catalogue, 5)
    faults = parse_faults("dropout=0.2")
    options = SimulateOptions(broker.url, username="gateway-1", rate=400, count=200, faults=faults)
    progress = Running(options, catalogue, fleet).result()
    wait_for(lambda: len(listener.of("telemetry")) == progress.published)
    # A gateway is no device, and says nothing of itself.
    said: dict[str, list[bytes]] = {device.id: [] for device in fleet}
    for topic, payload in listener.received:
        _, _, device, channel = topic.split("/")
        if channel == "status":
            said[device].append(payload)
        else:
            assert said[device][-1:] != [b"offline"]
    for words in said.values():
        assert len(words) > 1
        assert words == [(b"offline", b"online")[place % 2] for place in range(len(words))]


def test_killed_devices_leave_their_last_wills(
    broker: LocalBroker, listener: Listener, catalogue: Catalogue
) -> None:
    program = (
        "import sys, threading; from sensors.catalogue import *; from sensors.fleet import plan_fleet\n"
        "from simulators.options import SimulateOptions; from simulators.run import run\n"
        "catalogue = build_catalogue(builtin_file('alatau'), 'alatau.toml')\n"
        "options = SimulateOptions(sys.argv[1], per_device=True)\n"
        "fleet = plan_fleet(catalogue, 2)\n"
        "run(options, catalogue, fleet, lambda _: None, threading.Event(), secret_of=lambda _: 's')"
    )
    project = pathlib.Path(__file__).parents[2]
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", program, broker.url], env={**os.environ, "PYTHONPATH": str(project)}
    )
    try:
        wait_for(lambda: len(listener.of("status")) == 2)
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: [payload for _, payload in listener.of("status")] == 2 * [b"online"] + 2 * [b"offline"])


def test_each_device_may_have_a_connection_of_its_own(
    broker: LocalBroker, listener: Listener, catalogue: Catalogue
) -> None:
    fleet = fast_fleet(catalogue, 30)
    options = SimulateOptions(broker.url, per_device=True, count=90)
    running = Running(options, catalogue, fleet)
    progress = running.result()
    assert progress.acknowledged == progress.published == 90
    wait_for(lambda: len(listener.of("status")) == 60)
    online = {topic.split("/")[2] for topic, payload in listener.of("status") if payload == b"online"}
    assert online == {device.id for device in fleet}


def password_line(user: str, password: str) -> str:
    """Return a line of Mosquitto's password file: PBKDF2 with SHA-512."""
    salt, rounds = b"0123456789ab", 101
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"{user}:$7${rounds}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


@pytest.fixture
def strict_broker(broker: LocalBroker) -> LocalBroker:
    """A broker that knows who may publish where; its files are written by the test."""
    broker.stop()
    directory = broker.directory
    broker.settings = (
        f"allow_anonymous false\npassword_file {directory}/passwords\nacl_file {directory}/acl\n"
        "max_inflight_messages 500\nmax_queued_messages 100000"
    )
    return broker


def admit(broker: LocalBroker, accounts: dict[str, str], acl: str) -> None:
    """Write the accounts and start the broker."""
    for name, text in (
        ("passwords", "\n".join(password_line(*account) for account in accounts.items()) + "\n"),
        ("acl", acl),
    ):
        path = broker.directory / name
        path.write_text(text)
        path.chmod(0o644)
    broker.start()


def test_a_device_that_is_not_let_in_does_not_hold_up_the_others(
    strict_broker: LocalBroker, catalogue: Catalogue
) -> None:
    fleet = fast_fleet(catalogue, 6)
    secrets = {device.id: device_secret("fleet", device.id) for device in fleet}
    secrets[fleet[2].id] = "another"
    admit(strict_broker, secrets, "pattern readwrite alatau/v1/%u/#\n")
    progress = Running(
        SimulateOptions(strict_broker.url, per_device=True, count=60), catalogue, fleet
    ).result()
    assert progress.refused == 10
    assert progress.acknowledged == 50
    assert sum(progress.refusals.values()) == 10


def test_readings_that_the_broker_refuses_are_counted_with_its_reason(
    strict_broker: LocalBroker, catalogue: Catalogue
) -> None:
    fleet = fast_fleet(catalogue, 4)
    allowed = f"user gateway\ntopic readwrite alatau/v1/gateway/#\ntopic write alatau/v1/{fleet[0].id}/#\n"
    admit(strict_broker, {"gateway": "secret"}, allowed)
    options = SimulateOptions(strict_broker.url, username="gateway", password="secret", count=40)
    progress = Running(options, catalogue, fleet).result()
    assert (progress.acknowledged, progress.refused) == (10, 30)
    assert progress.refusals == {"Not authorized": 30}


def test_a_wrong_password_is_an_error_that_says_so(strict_broker: LocalBroker, catalogue: Catalogue) -> None:
    admit(strict_broker, {"gateway": "secret"}, "")
    options = SimulateOptions(strict_broker.url, username="gateway", password="guess")
    with pytest.raises(BrokerError, match="check the account"):
        Running(options, catalogue, plan_fleet(catalogue, 4)).result()


def test_an_account_that_is_refused_for_a_while_comes_back(
    strict_broker: LocalBroker, catalogue: Catalogue
) -> None:
    allowed = "user gateway\ntopic write alatau/v1/#\n"
    admit(strict_broker, {"gateway": "secret"}, allowed)
    options = SimulateOptions(strict_broker.url, username="gateway", password="secret", rate=100)
    running = Running(options, catalogue, plan_fleet(catalogue, 4))
    wait_for(lambda: running.last.acknowledged > 0)
    strict_broker.stop()
    admit(strict_broker, {"somebody": "else"}, allowed)
    wait_for(lambda: running.last.connected == 0)
    strict_broker.stop()
    admit(strict_broker, {"gateway": "secret"}, allowed)
    wait_for(lambda: running.last.reconnects > 0, 30)
    assert running.end().reconnects == 1


def test_a_broker_that_is_not_there_is_an_error_that_says_so(catalogue: Catalogue) -> None:
    options = SimulateOptions(f"mqtt://127.0.0.1:{free_port()}", connect_timeout=0.3)
    with pytest.raises(BrokerError, match="is it running"):
        Running(options, catalogue, plan_fleet(catalogue, 4)).result()


def test_nothing_is_lost_when_the_broker_dies_and_comes_back(
    broker: LocalBroker, catalogue: Catalogue
) -> None:
    options = SimulateOptions(broker.url, rate=500, window=100, drain_timeout=30)
    running = Running(options, catalogue, plan_fleet(catalogue, 20))
    wait_for(lambda: running.last.acknowledged > 0)
    broker.stop(signal.SIGKILL)
    broker.start()
    wait_for(lambda: running.last.reconnects > 0, 30)
    resumed = running.last.acknowledged
    wait_for(lambda: running.last.acknowledged > resumed)
    progress = running.end()
    assert progress.reconnects >= 1
    assert progress.in_flight == 0
    assert progress.published == progress.acknowledged > resumed


def test_a_broker_that_does_not_answer_bounds_what_is_sent(broker: LocalBroker, catalogue: Catalogue) -> None:
    options = SimulateOptions(broker.url, rate=5000, window=50)
    running = Running(options, catalogue, plan_fleet(catalogue, 20))
    wait_for(lambda: running.last.acknowledged > 0)
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: running.last.in_flight == 50)
        reports = len(running.reports)
        wait_for(lambda: len(running.reports) >= reports + 2)
        before, after = running.reports[-2:]
        assert before.in_flight == after.in_flight == 50
        assert before.published == after.published
    finally:
        broker.process.send_signal(signal.SIGCONT)
    wait_for(lambda: running.last.acknowledged > after.acknowledged)
    progress = running.end()
    assert progress.in_flight == 0
    assert max(report.in_flight for report in running.reports) == 50


def test_the_truth_file_accounts_for_every_fault(
    broker: LocalBroker, listener: Listener, catalogue: Catalogue, tmp_path: pathlib.Path
) -> None:
    truth = tmp_path / "truth.ndjson"
    faults = parse_faults("dropout=0.1,duplicate=0.1,malformed=0.1,late=0.2")
    fleet = plan_fleet(catalogue, 20)
    progress = Running(
        SimulateOptions(broker.url, rate=400, count=400, faults=faults, truth=truth), catalogue, fleet
    ).result()
    wait_for(lambda: len(listener.of("telemetry")) == progress.published)
    labels = [json.loads(line) for line in truth.read_text().splitlines()]
    assert len(labels) == progress.faults
    assert {label["fault"] for label in labels} == set(faults)
    arrived: Counter[tuple[str, int]] = Counter()
    broken = 0
    for topic, payload in listener.of("telemetry"):
        try:
            decoded = json.loads(payload)
        except json.JSONDecodeError:
            broken += 1
            continue
        for reading in decoded if isinstance(decoded, list) else [decoded]:
            arrived[topic.split("/")[2], reading["ts"]] += 1
    expected = {"absent": 0, "duplicate": 2, "stored": 1, "dead_letter:undecodable": 0}
    for label in labels:
        key = (label["device"], parse_timestamp(label["time"]) // 1000)
        assert arrived[key] == expected[label["expect"]], label
    assert broken == sum(label["fault"] == Fault.MALFORMED for label in labels)


def test_an_outage_is_made_up_for_as_a_device_with_a_memory_would(
    broker: LocalBroker, listener: Listener, catalogue: Catalogue
) -> None:
    """The wall clock leaps as it does for a machine that was asleep."""
    leap = {"us": 0}
    clock = Clock(now=lambda: time.time_ns() // 1000 + leap["us"])
    stop = threading.Event()

    def report(progress: Progress) -> None:
        leap["us"] = 600 * 1_000_000
        if progress.readings > 9000 and progress.behind == 0:
            stop.set()

    fleet = fast_fleet(catalogue, 4)
    progress = run(SimulateOptions(broker.url), catalogue, fleet, report, stop, clock=clock)
    wait_for(lambda: len(listener.of("telemetry")) == progress.published)
    arrived = readings(listener)
    assert progress.published < 300 < 9000 < progress.readings == len(arrived)
    for device in {device for device, _ in arrived}:
        times = sorted(when for name, when in arrived if name == device)
        assert {later - earlier for earlier, later in itertools.pairwise(times)} == {250}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"url": "http://127.0.0.1"}, "mqtt://host:1883"),
        ({"url": "mqtt://127.0.0.1:x"}, "mqtt://host:1883"),
        ({"speed": 0.5}, "below 1"),
        ({"devices": 0}, "no device"),
        ({"rate": 1e9}, "at most"),
        ({"tls_ca": pathlib.Path("/nowhere/ca.pem")}, "ca.pem"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    catalogue: Catalogue, change: dict[str, object], told: str
) -> None:
    options = dataclasses.replace(SimulateOptions("mqtt://127.0.0.1:1"), **change)  # type: ignore[arg-type]
    with pytest.raises(SimulatorError, match=told):
        run(options, catalogue, plan_fleet(catalogue, 3), lambda _progress: None, threading.Event())
