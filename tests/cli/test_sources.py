"""``source`` and ``profile``: who was seen is claimed, and fields become metrics as a file says."""

from __future__ import annotations

import json
import pathlib

import asyncpg
import pytest

from sensors.catalogue import Catalogue
from sensors.checks import Reason
from sensors.kinds import DeviceSpec
from sensors.times import SECOND, to_microseconds
from storage.dead_letters import DeadLetter, insert_letters
from storage.devices import register_devices
from storage.kept import KEPT_TURN
from storage.turns import take_turn
from storage.wire_sources import Seen, note_seen
from tests.api.answers import NOW
from tests.cli.command import Alatau

pytestmark = pytest.mark.servers
MINE = """
[[profile]]
name = "mine"
title = "Ours"
format = "chirpstack"
kind = "weather"
map = [{ field = "t", metric = "temperature", unit = "[degF]" }]
"""


@pytest.fixture
async def devices(connection: asyncpg.Connection, catalogue: Catalogue) -> None:
    specs = [DeviceSpec("pipe-7", "water", "gate"), DeviceSpec("air-7", "weather", "gate")]
    await register_devices(connection, specs, catalogue)


async def see(connection: asyncpg.Connection, eui: str, *values: float, field: str = "pressure") -> None:
    """Note messages of a source that nobody has claimed, as ingest does."""
    topic, now = f"application/a/device/{eui}/event/up", to_microseconds(NOW)
    letters = [
        DeadLetter(
            now + n * SECOND,
            topic,
            json.dumps({"deviceInfo": {"devEui": eui}, "object": {field: value}}).encode(),
            Reason.UNCLAIMED,
            f"nobody has claimed {eui}",
        )
        for n, value in enumerate(values)
    ]
    async with connection.transaction():
        await insert_letters(connection, letters)
        said = {field: (values[-1], None)}
        await note_seen(connection, [Seen("chirpstack", eui, now, len(values), said, [topic])])


async def test_a_source_is_seen_claimed_with_what_was_kept_and_released(
    alatau: Alatau, connection: asyncpg.Connection, devices: None
) -> None:
    eui = "24e124aa00000001"
    await see(connection, eui, 300, 310)
    listed = alatau("source", "list", "--unclaimed", "--format", "chirpstack").out
    assert f"chirpstack {eui} unclaimed 2026-01-15 12:00:00Z pressure 310" in listed

    claim = ("source", "claim", "chirpstack", eui, "--device")
    claimed = alatau(*claim, "pipe-7", "--profile", "milesight-em500-pp")
    assert claimed.out == f"chirpstack {eui} is pipe-7 now; 2 readings that were kept are stored", (
        claimed.errors
    )
    rows = await connection.fetch("SELECT pressure FROM reading.water ORDER BY time")
    assert [row["pressure"] for row in rows] == pytest.approx([3.0, 3.1])
    assert f"chirpstack {eui} pipe-7 milesight-em500-pp" in alatau("source", "list", "--claimed").out
    assert "is another device's; release it first" in alatau(*claim, "air-7").errors

    assert alatau("source", "release", "chirpstack", eui).out == f"chirpstack {eui} is released"
    assert "is no device's" in alatau("source", "release", "chirpstack", eui).errors
    acts = await connection.fetch(
        "SELECT action, detail FROM alatau.audit WHERE subject = $1 ORDER BY audit_id", eui
    )
    assert [act["action"] for act in acts] == ["claim source", "release source"]
    assert acts[0]["detail"] == {"format": "chirpstack", "device": "pipe-7", "profile": "milesight-em500-pp"}


async def test_what_was_kept_is_left_to_who_is_at_it_already(
    alatau: Alatau, connection: asyncpg.Connection, devices: None
) -> None:
    eui = "24e124aa00000002"
    await see(connection, eui, 300, 310, 320)
    assert await take_turn(connection, KEPT_TURN)
    claimed = alatau("source", "claim", "chirpstack", eui, "--device", "pipe-7")
    assert "ingest is storing the 3 messages that were kept" in claimed.out
    await connection.execute("SELECT pg_advisory_unlock_all()")
    assert "0 readings" in alatau("source", "claim", "chirpstack", "of-nobody", "--device", "air-7").out
    left = "SELECT count(*) FROM alatau.source WHERE kept_after IS NOT NULL"
    assert await connection.fetchval(left) == 0, "the next who has the turn does it"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("chirpstak", "x", "--device", "pipe-7"), 'did you mean "chirpstack"?'),
        (("chirpstack", "x", "--device", "pipe-8"), 'no device "pipe-8" is registered'),
        (("chirpstack", "x", "--device", "pipe-7", "--profile", "milesight-em500"), "did you mean"),
        (("senml", "x", "--device", "pipe-7", "--profile", "milesight-em500-pp"), "is of chirpstack"),
        (("chirpstack", "x", "--device", "air-7", "--profile", "milesight-em500-pp"), "is of water"),
    ],
)
def test_what_can_not_be_claimed_is_said(
    alatau: Alatau, devices: None, arguments: tuple[str, ...], said: str
) -> None:
    result = alatau("source", "claim", *arguments)
    assert (result.code, said in result.errors) == (1, True), result.errors


async def test_a_profile_of_a_file_is_applied_changed_used_and_removed(
    alatau: Alatau, connection: asyncpg.Connection, devices: None, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(MINE)
    assert alatau("profile", "apply", str(file)).out == "1 of 1 profiles are new or changed"
    assert alatau("profile", "apply", str(file)).out == "0 of 1 profiles are new or changed"
    file.write_text(MINE.replace("[degF]", "K"))
    assert alatau("profile", "apply", str(file)).out == "1 of 1 profiles are new or changed"
    assert "mine chirpstack weather 2 0 Ours" in alatau("profile", "list").out
    versions = alatau("profile", "versions", "mine").out
    assert versions.index("2 20") < versions.index("temperature=t 1 20")

    eui = "24e124aa00000003"
    await see(connection, eui, 269.65, field="t")
    alatau("source", "claim", "chirpstack", eui, "--device", "air-7", "--profile", "mine")
    assert await connection.fetchval("SELECT temperature FROM reading.weather") == pytest.approx(-3.5)
    assert "1 sources use the profile mine" in alatau("profile", "remove", "mine").errors
    alatau("source", "release", "chirpstack", eui)
    assert alatau("profile", "remove", "mine").out == "mine is removed"
    alatau("profile", "apply", str(file))
    assert "mine chirpstack weather 3 0 Ours" in alatau("profile", "list").out, "its numbers go on"


def test_a_profile_that_comes_with_us_is_there_and_is_shown_as_a_file_has_it(
    alatau: Alatau, tmp_path: pathlib.Path
) -> None:
    shown = alatau("profile", "show", "milesight-em500-pp").out
    assert '[[profile]] name = "milesight-em500-pp"' in shown
    assert "comes with Alatau and would be back" in alatau("profile", "remove", "milesight-em500-pp").errors
    assert 'did you mean "milesight-em500-pp"?' in alatau("profile", "show", "milesight-em500-p").errors
    assert "chirpstack ChirpStack application/+/device/+/event/+" in alatau("source", "formats").out


async def test_a_profile_that_somebody_changed_stays_as_it_is_when_ours_is_renewed(
    alatau: Alatau, connection: asyncpg.Connection, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "ours.toml"
    file.write_text(MINE.replace('name = "mine"', 'name = "dragino-lht65"'))
    alatau("profile", "apply", str(file))
    assert "schema at revision" in alatau("migrate").out
    row = await connection.fetchrow("SELECT origin, version FROM alatau.profile WHERE name = 'dragino-lht65'")
    assert row is not None
    assert tuple(row) == ("file", 2)
