"""``publish``: lines in, exit code 0 when all are stored."""

from __future__ import annotations

import pathlib
import signal
import tempfile
from collections.abc import Iterator

import pytest

from cli.local import LocalStack
from simulators.journal import Journal
from stack.ports import free_port
from stack.servers import Servers
from tests.cli.command import Alatau, start
from tests.simulators.conftest import OPEN_BROKER, LocalBroker, wait_for
from tests.simulators.platform import Platform

pytestmark = pytest.mark.servers

LINES = '{"ts": 1795341600, "pm2_5": 12.5}\n\n{"ts": "2026-11-22T10:00:00Z", "values": {"pm2_5": 13}}\n{"pm2_5": 14}\n'


@pytest.fixture(scope="module")
def broker(servers: Servers, directory_for_servers: pathlib.Path) -> Iterator[LocalBroker]:
    directory = pathlib.Path(tempfile.mkdtemp(dir=directory_for_servers))
    directory.chmod(0o755)
    started = LocalBroker(servers.mosquitto, directory, free_port(), OPEN_BROKER)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def platform(broker: LocalBroker) -> Iterator[Platform]:
    opened = Platform(broker)
    yield opened
    opened.close()


@pytest.fixture
def alatau(broker: LocalBroker, tmp_path: pathlib.Path) -> Alatau:
    """The command of a device's owner."""
    return Alatau(
        {
            "ALATAU_DATA_DIR": str(tmp_path),
            "ALATAU_MQTT_URL": broker.url,
            "ALATAU_DEVICE_ID": "air-9",
            "ALATAU_DEVICE_SECRET": "secret",
        }
    )


def test_it_returns_when_every_line_is_stored(alatau: Alatau, platform: Platform) -> None:
    result = alatau("publish", stdin=LINES)
    assert (result.code, result.out) == (0, "readings stored: 3")
    first, second, third = platform.kept["air-9"].values()
    assert first == {"ts": 1795341600, "values": {"pm2_5": 12.5}}
    assert second == {"ts": "2026-11-22T10:00:00Z", "values": {"pm2_5": 13}}
    assert third["values"] == {"pm2_5": 14}
    assert isinstance(third["ts"], float)


def test_two_readings_at_once_have_times_of_their_own(alatau: Alatau, platform: Platform) -> None:
    assert alatau("publish", stdin='{"pm2_5": 1}\n' * 50).code == 0
    times = [reading["ts"] for reading in platform.kept["air-9"].values()]
    assert len(set(times)) == 50


def test_what_was_not_stored_is_sent_by_the_next_run(alatau: Alatau, platform: Platform) -> None:
    platform.is_mute = True
    given_up = alatau("publish", "--timeout", "0.3", stdin=LINES)
    assert given_up.code == 1
    assert "is ingest running" in given_up.errors
    assert "readings not stored yet: 3" in given_up.errors
    platform.is_mute = False
    again = alatau("publish", stdin='{"pm2_5": 15}')
    assert (again.code, again.out) == (0, "readings stored: 4")
    assert "readings of an earlier run, sent first: 3" in again.errors
    assert platform.numbers("air-9") == [1, 2, 3, 4]


def test_a_line_that_is_no_reading_is_named_and_the_others_are_stored(
    alatau: Alatau, platform: Platform
) -> None:
    lines = [
        "{",
        "[1]",
        '{"seq": 1}',
        '{"ts": null}',
        '{"values": 1}',
        '{"values": {}, "a": 1}',
        '{"a": NaN}',
    ]
    result = alatau("publish", stdin="\n".join([*lines, '{"pm2_5": 1}']))
    assert result.code == 1
    for number in range(1, 8):
        assert f"line {number}: " in result.errors
    assert "lines that were no readings: 7" in result.errors
    assert "readings stored: 1" in result.out
    assert platform.numbers("air-9") == [1]


def test_an_interrupted_run_says_where_its_readings_are(
    alatau: Alatau, platform: Platform, tmp_path: pathlib.Path
) -> None:
    platform.is_mute = True
    process = start("publish", stdin=LINES, **alatau.settings)
    try:
        wait_for(lambda: platform.numbers("air-9") == [1, 2, 3])
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert f"readings not stored yet: 3; they stay in {tmp_path}/spools/air-9" in told.decode()
    platform.is_mute = False
    assert alatau("publish").out.startswith("readings stored: 3")


def test_a_refusal_is_shown_and_is_no_success(alatau: Alatau, platform: Platform) -> None:
    platform.refusal = '{"reason": "unknown_metric", "detail": "did you mean pm2_5?"}'
    result = alatau("publish", stdin=LINES)
    assert result.code == 1
    assert "did you mean pm2_5?" in result.errors
    assert "alatau dead-letters list" in result.errors


def test_a_device_that_is_not_let_in_is_told_what_to_check(alatau: Alatau, local_stack: LocalStack) -> None:
    result = alatau("publish", stdin=LINES, ALATAU_MQTT_URL=local_stack.mqtt_url)
    assert result.code == 1
    assert "check ALATAU_DEVICE_SECRET" in result.errors
    assert "readings not stored yet: 3" in result.errors


def test_a_spool_in_use_is_left_alone(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    with Journal(tmp_path / "spool"):
        result = alatau("publish", "--spool", str(tmp_path / "spool"), stdin=LINES)
    assert result.code == 1
    assert "in use by another process" in result.errors


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"ALATAU_DEVICE_ID": ""}, "--device"),
        ({"ALATAU_DEVICE_ID": "../../etc"}, "no device id"),
        ({"ALATAU_DEVICE_SECRET": ""}, "ALATAU_DEVICE_SECRET"),
    ],
)
def test_what_is_missing_is_said(alatau: Alatau, settings: dict[str, str], told: str) -> None:
    result = alatau("publish", stdin=LINES, **settings)
    assert result.code == 1
    assert told in result.errors
