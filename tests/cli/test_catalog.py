"""``catalog apply``: city files in both languages, twice, and wrong ones."""

from __future__ import annotations

import pathlib

import asyncpg
import pytest

from tests.cli.command import Alatau

pytestmark = pytest.mark.servers

TOML = """
[[district]]
name = "glow"
title = "Glow"
outline = [[77.2, 43.5], [77.3, 43.5], [77.3, 43.6]]

[[kind]]
name = "beehive"
title = "Beehive"
interval = "PT10M"

[[kind.metric]]
name = "hive_mass"
title = "Mass"
unit = "kg"
minimum = 0
maximum = 200
resolution = 0.1

[[metric]]
kind = "air_quality"
name = "pollen"
title = "Pollen"
unit = "1"
minimum = 0
maximum = 10000
resolution = 1

[[device]]
id = "hive-1"
kind = "beehive"
district = "glow"
"""

YAML = """
metric:
  - {kind: noise, name: bird_calls, title: Bird calls, unit: "1", minimum: 0, maximum: 1000, resolution: 1}
device:
  - {id: bird-1, kind: noise, district: green, position: [77.0, 43.8]}
  - {id: bird-2, kind: noise, district: green}
"""


@pytest.fixture
def toml(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "city.toml"
    path.write_text(TOML)
    return path


async def test_a_toml_file_adds_kind_metric_district_and_device(
    alatau: Alatau, toml: pathlib.Path, connection: asyncpg.Connection
) -> None:
    assert alatau("catalog", "apply", str(toml)).code == 0
    assert await connection.fetchval('SELECT count(hive_mass) FROM reading."beehive"') == 0
    assert await connection.fetchval('SELECT count(pollen) FROM reading."air_quality"') == 0
    assert await connection.fetchval("SELECT title FROM alatau.district WHERE name = 'glow'") == "Glow"
    assert await connection.fetchval("SELECT kind FROM alatau.device WHERE id = 'hive-1'") == "beehive"


def test_a_file_that_is_applied_again_changes_nothing(alatau: Alatau, toml: pathlib.Path) -> None:
    alatau("catalog", "apply", str(toml))
    again = alatau("catalog", "apply", str(toml))
    assert "was in force already" in again.out
    assert "0 devices added, 0 updated" in again.out


async def test_a_yaml_file_says_the_same_as_a_toml_file(
    alatau: Alatau, tmp_path: pathlib.Path, connection: asyncpg.Connection
) -> None:
    path = tmp_path / "birds.yaml"
    path.write_text(YAML)
    assert "2 devices added" in alatau("catalog", "apply", str(path)).out
    assert await connection.fetchval('SELECT count(bird_calls) FROM reading."noise"') == 0


def test_without_a_file_alatau_city_is_in_force(alatau: Alatau) -> None:
    assert "alatau.toml" in alatau("catalog", "apply").out


WRONG = [
    (
        '[[device]]\nid = "a"\nkind = "air_qualty"\ndistrict = "gate"',
        ["device[0]", 'did you mean "air_quality"?'],
    ),
    ('[[device]]\nid = "a"\nkind = "noise"\ndistrict = "gold"', ["device[0]", 'did you mean "golden"?']),
    ('[[devices]]\nid = "a"', ["devices", 'did you mean "device"?']),
    (
        '[[device]]\nid = "a"\nkind = "noise"\ndistrict = "gate"\nposition = [300, 4]',
        ["[longitude, latitude]"],
    ),
    (
        '[city]\nname = "x"\ntitle = "X"\ntimezone = "Asia/Almati"',
        ["city.timezone", 'did you mean "Asia/Almaty"?'],
    ),
    ("[[device]", ["not readable"]),
]


@pytest.mark.parametrize(("text", "told"), WRONG)
async def test_a_wrong_file_is_named_with_its_key_and_what_would_be_right(
    alatau: Alatau, tmp_path: pathlib.Path, text: str, told: list[str], connection: asyncpg.Connection
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    before = await connection.fetchval("SELECT max(version) FROM alatau.catalogue_version")
    result = alatau("catalog", "apply", str(path))
    assert result.code == 1
    for words in ("wrong.toml", *told):
        assert words in result.errors
    assert "Traceback" not in result.errors
    assert await connection.fetchval("SELECT max(version) FROM alatau.catalogue_version") == before


def test_a_file_that_is_not_there_is_named(alatau: Alatau) -> None:
    result = alatau("catalog", "apply", "nowhere.toml")
    assert result.code == 1
    assert "nowhere.toml: No such file or directory" in result.errors
