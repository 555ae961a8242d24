"""``dead-letters``: refused, looked at, mended, fed again."""

from __future__ import annotations

import json
import pathlib

import asyncpg
import pytest

from sensors.catalogue import Catalogue
from sensors.checks import Reason
from sensors.kinds import DeviceSpec
from sensors.times import to_microseconds
from storage.dead_letters import DeadLetter, insert_letters
from storage.devices import register_devices
from tests.api.answers import NOW
from tests.cli.command import Alatau

pytestmark = pytest.mark.servers

SPARKLE = """
[[metric]]
kind = "air_quality"
name = "sparkle"
title = "Sparkle"
unit = "1"
minimum = 0
maximum = 10
resolution = 1
"""


async def refuse(
    connection: asyncpg.Connection, device: str, payload: object, detail: str = "for a test"
) -> int:
    """Keep a letter as ingest would, and return its number."""
    letter = DeadLetter(
        to_microseconds(NOW),
        f"alatau/v1/{device}/telemetry",
        payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
        Reason.UNKNOWN_METRIC,
        detail,
    )
    await insert_letters(connection, [letter])
    number = await connection.fetchval("SELECT max(dead_letter_id) FROM alatau.dead_letter")
    assert isinstance(number, int)
    return number


@pytest.fixture
async def device(connection: asyncpg.Connection, catalogue: Catalogue) -> str:
    await register_devices(connection, [DeviceSpec("air-1", "air_quality", "gate")], catalogue)
    return "air-1"


async def test_a_letter_is_stored_once_its_cause_is_mended(
    alatau: Alatau, connection: asyncpg.Connection, device: str, tmp_path: pathlib.Path
) -> None:
    number = str(await refuse(connection, device, {"ts": "2026-01-15T11:00:00Z", "sparkle": 7}))
    refused = alatau("dead-letters", "replay", number)
    assert "0 accepted (0 readings stored), 1 still refused" in refused.out
    assert "still refused" in alatau("dead-letters", "show", number).out

    file = tmp_path / "sparkle.toml"
    file.write_text(SPARKLE)
    alatau("catalog", "apply", str(file))
    assert "1 accepted (1 readings stored), 0 still refused" in alatau("dead-letters", "replay", number).out
    row = await connection.fetchrow(
        'SELECT received_at, sparkle FROM reading."air_quality" WHERE sparkle IS NOT NULL'
    )
    assert row is not None
    assert (row["sparkle"], row["received_at"]) == (7, NOW)
    assert "accepted, 1 readings stored" in alatau("dead-letters", "show", number).out


async def test_messages_that_were_only_counted_are_shown_with_the_letter_kept(
    alatau: Alatau, connection: asyncpg.Connection, device: str
) -> None:
    number = await refuse(connection, device, {"pm2_5": 10})
    await connection.execute("UPDATE alatau.dead_letter SET repeats = 1234 WHERE dead_letter_id = $1", number)
    assert "1,234" in alatau("dead-letters", "list").out
    assert "repeats 1,234" in alatau("dead-letters", "show", str(number)).out


async def test_a_replay_feeds_those_that_wait_of_one_reason_and_device(
    alatau: Alatau, connection: asyncpg.Connection, device: str
) -> None:
    number = await refuse(connection, device, {"pm2_5": 10})
    await connection.execute(
        "UPDATE alatau.dead_letter SET device_id = (SELECT device_id FROM alatau.device WHERE id = $1) "
        "WHERE dead_letter_id = $2",
        device,
        number,
    )
    wanted = ("dead-letters", "replay", "--device", device)
    assert alatau(*wanted, "--reason", "too_large").out == "No dead letter waits."
    assert "1 accepted (1 readings stored)" in alatau(*wanted, "--reason", "unknown_metric").out
    assert alatau(*wanted).out == "No dead letter waits."


async def test_a_list_shows_the_newest_first_whatever_devices_wrote(
    alatau: Alatau, connection: asyncpg.Connection
) -> None:
    older = await refuse(connection, "[/]", b"\xff[bold]", "looks like [/markup] it is not")
    newer = await refuse(connection, "b", {"x": 1})
    listed = alatau("dead-letters", "list", "--reason", "unknown_metric").out
    assert listed.index(f" {newer} 2026-01-15") < listed.index(f" {older} 2026-01-15")
    assert "alatau/v1/[/]/telemetry" in listed
    shown = alatau("dead-letters", "show", str(older))
    assert "looks like [/markup] it is not" in shown.out
    assert r"b'\xff[bold]'" in shown.out


@pytest.mark.parametrize("command", ["show", "replay"])
def test_a_letter_that_is_not_there_is_said(alatau: Alatau, command: str) -> None:
    result = alatau("dead-letters", command, "999999")
    assert result.code == 1
    assert "there is no dead letter 999999" in result.errors


def test_a_reason_that_is_none_is_answered_with_those_that_are(alatau: Alatau) -> None:
    result = alatau("dead-letters", "list", "--reason", "bad_mood")
    assert result.code == 2
    assert "unknown_metric" in result.errors
