"""``top``: what it says of a city whose state is known, and how it goes on when the API does not."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
import pathlib
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from api.app import create_app
from api.options import ApiOptions
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.times import to_microseconds
from storage.api_keys import generate_key, store_key
from storage.database import connect
from tests.alerts.making import PATTERN, passed
from tests.cities import open_city
from tests.cli.analysts import analysts_city, listening
from tests.cli.command import PROJECT, Alatau, clean_environment
from tests.conftest import Database

pytestmark = pytest.mark.servers

DEVICES = (DeviceSpec("rain-1", "weather", "green"), DeviceSpec("mute-1", "noise", "gate"))


@pytest.fixture(scope="module")
async def alatau(
    database: Database, catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Alatau]:
    """A device that just sent 30 readings, was refused three times, and another that never sent any; two alerts."""
    now = dt.datetime.now(dt.UTC)
    async with (
        analysts_city(database, catalogue, tmp_path_factory.mktemp("exports")) as settings,
        open_city(database, catalogue, DEVICES) as city,
    ):
        rows = [("rain-1", now - n * dt.timedelta(seconds=0.1), {"humidity": float(n)}) for n in range(30)]
        await city.write("weather", rows)
        await city.owner.execute(
            """
            INSERT INTO alatau.dead_letter (received_at, topic, payload, reason, detail, device_id, repeats)
            VALUES ($1, 'alatau/v1/rain-1/telemetry', 'x', 'undecodable', 'no JSON', $2, 2)
            """,
            now,
            city.number["rain-1"],
        )
        since = to_microseconds(now - dt.timedelta(minutes=42))
        hot = dataclasses.replace(PATTERN, since=since)
        flood = dataclasses.replace(
            hot, fingerprint="flood", severity="critical", device=None, sentence="The river is 5 m high."
        )
        await passed(city.owner, [hot, flood], to_microseconds(now))
        yield Alatau({**settings, "ALATAU_DATA_DIR": str(tmp_path_factory.mktemp("data"))})


def test_a_look_tells_what_comes_what_is_refused_and_who_is_in_trouble(alatau: Alatau) -> None:
    result = alatau("top", "--once", "--json")
    assert result.code == 0, result.errors
    frame = json.loads(result.out)
    assert frame["city"] == "Alatau City"
    assert frame["sentence"] == "2 alerts, 1 of 4 devices silent, 3 refused in the last minute"
    kinds = {one["kind"]: one for one in frame["rates"]["kinds"]}
    assert set(kinds) == {"air_quality", "noise", "weather"}
    assert kinds["weather"]["readings_per_second"] == 0.5
    assert kinds["weather"]["refused_per_minute"] == 3
    assert kinds["noise"]["readings_per_second"] == 0
    assert 1.9 < kinds["weather"]["lag_seconds"]["p50"] < 2.1
    worst = {one["device"]: one["troubles"] for one in frame["habits"]["worst"]}
    assert next(iter(worst)) == "mute-1"
    assert worst["mute-1"] == ["has never sent anything"]
    assert "3 refused: undecodable" in worst["rain-1"]
    assert "air-1" not in worst
    assert [alert["severity"] for alert in frame["alerts"]] == ["critical", "warning"]


def test_the_screen_of_that_is_for_people(alatau: Alatau) -> None:
    result = alatau("top", "--once")
    assert result.code == 0, result.errors
    assert "Alatau City ▲ 2 alerts, 1 of 4 devices silent, 3 refused in the last minute" in result.out
    assert "weather 1 0.50 2.0 s" in result.out
    for alert in (
        "● critical 42 min The river is 5 m high.",
        "▲ warning 42 min PM2.5 of air-1 is 163.2 µg/m³",
    ):
        assert alert in result.out
    assert "mute-1 has never sent anything" in result.out


def test_in_a_pipe_it_looks_once(alatau: Alatau) -> None:
    assert alatau("top").code == 0


@contextlib.contextmanager
def on_a_terminal(*arguments: str, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run the command on a terminal of its own; lend the process, and the other end of the terminal."""
    ours, its = pty.openpty()
    environment = clean_environment({**settings, "TERM": "xterm-256color", "COLUMNS": "150", "LINES": "40"})
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", "cli", *arguments],
        cwd=PROJECT,
        env=environment,
        stdin=its,
        stdout=its,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(its)
    try:
        yield process, ours
    finally:
        process.kill()
        process.communicate()
        os.close(ours)


def until_shown(terminal: int, text: str) -> None:
    """Read what a terminal shows until a text is among it."""
    shown, deadline = "", time.monotonic() + 30
    while text not in shown:
        assert select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0], shown[-2000:]
        shown += os.read(terminal, 65_536).decode(errors="replace")


async def test_when_the_api_goes_away_what_was_seen_last_stays_and_says_so(
    alatau: Alatau, database: Database, tmp_path: pathlib.Path
) -> None:
    key = generate_key()
    connection = await connect(database.owner_url, application="test")
    await store_key(connection, key, "test")
    await connection.close()
    settings = {"ALATAU_API_KEY": key, "ALATAU_DATA_DIR": str(tmp_path)}
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(listening(create_app(ApiOptions(database.api_url, pool_size=2))))
        with on_a_terminal("top", "--every", "0.5", ALATAU_API_URL=url, **settings) as (process, terminal):
            until_shown(terminal, "The river is 5 m high.")
            stack.close()
            until_shown(terminal, "does not answer")
            until_shown(terminal, "The river is 5 m high.")
            process.send_signal(signal.SIGINT)
            # Whoever looks has the screen back as it was.
            until_shown(terminal, "\x1b[?1049l")
            assert process.wait(10) == 130
