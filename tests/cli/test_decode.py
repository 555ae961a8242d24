"""``alatau decode``: what messages say, what would be stored of them, and what is refused."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.cli.command import Alatau

PACK = """[{"bn":"urn:dev:mac:0024befffe804ff1/","bt":1767225600,"bu":"Cel","n":"temperature","v":21.5},
{"n":"humidity","u":"%RH","v":41},{"n":"pm2_5","u":"mg/m3","v":0.012}]"""
WHEN = ("--received", "2026-01-01T00:01:00Z")
BIRTH = (
    "0880d0eab6b733121b0a096169722f706d325f3510071880d0eab6b73320096500009441121b0a086169722f74656d70"
    "10081880d0eab6b733200350fdffffff0f1801"
)
DATA = "08e0a4eeb6b733120e100718e0a4eeb6b733650000aa411211100818b0baecb6b733280150fcffffff0f1802"
PROFILE = """
[[profile]]
name = "air"
title = "A station on Sparkplug"
format = "sparkplug"
kind = "air_quality"
map = [
  { field = "air/pm2_5", metric = "pm2_5" },
  { field = "air/temp", metric = "temperature", unit = "K", offset = 280 },
]
"""


@pytest.fixture
def alatau() -> Alatau:
    """The command of who has no city: nothing is set."""
    return Alatau({})


@pytest.fixture
def pack(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "pack.json"
    path.write_text(PACK)
    return path


def test_what_a_message_says_is_shown_in_its_own_words(alatau: Alatau, pack: pathlib.Path) -> None:
    result = alatau("decode", "senml/air-7", str(pack))
    assert result.code == 0, result.errors
    assert "SenML air-7/urn:dev:mac:0024befffe804ff1 at 2026-01-01T00:00:00Z" in result.out, (
        "as it is claimed"
    )
    assert "temperature 21.5 Cel humidity 41 % pm2_5 0.012 mg/m3" in result.out


def test_what_a_kind_would_store_is_shown_in_its_units(alatau: Alatau, pack: pathlib.Path) -> None:
    result = alatau("decode", "senml/air-7", str(pack), "--kind", "air_quality", *WHEN)
    assert result.code == 0, result.errors
    assert "stored as air_quality value unit pm2_5 12 ug/m3 temperature 21.5 Cel humidity 41 %" in result.out


def test_a_birth_comes_first_and_a_profile_says_which_field_is_which_metric(
    alatau: Alatau, tmp_path: pathlib.Path
) -> None:
    for name, content in (("birth.hex", BIRTH), ("data.hex", DATA), ("mine.toml", PROFILE)):
        (tmp_path / name).write_text(content)
    birth = ("spBv1.0/alatau/DBIRTH/gw1/air7", str(tmp_path / "birth.hex"))
    data = ("spBv1.0/alatau/DDATA/gw1/air7", str(tmp_path / "data.hex"))
    result = alatau("decode", *birth, *data, "--profile", str(tmp_path / "mine.toml"), "--json", *WHEN)
    assert result.code == 0, result.errors
    said = json.loads(result.out)
    assert [(one["time"], one["stored"], one["historical"]) for one in said["readings"]] == [
        ("2026-01-01T00:00:00Z", {"pm2_5": 18.5, "temperature": pytest.approx(3.85)}, False),
        ("2026-01-01T00:01:00Z", {"pm2_5": 21.25}, False),
        ("2026-01-01T00:00:30Z", {"temperature": pytest.approx(2.85)}, True),
    ]
    assert [one["online"] for one in said["statuses"]] == [True]


def test_what_is_refused_says_where_and_what_would_be_right(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "pack.json"
    path.write_text('[{"n":"temperature","u":"Cel","v":"warm"},{"n":"humidity","u":"hPa","v":41}]')
    result = alatau("decode", "senml/air-7", str(path), "--kind", "weather")
    assert result.code == 1
    assert "refused, wrong_type: /0/v: found" in result.out
    assert 'refused, wrong_unit: humidity: "hPa" and "%" measure different things' in result.out


def test_what_a_device_calls_itself_is_not_obeyed_by_the_terminal(
    alatau: Alatau, tmp_path: pathlib.Path
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("weather,host=\x1b[2Jroof temperature=1")
    result = alatau("decode", "telegraf/air-7", str(lines))
    assert "\x1b" not in result.out
    assert "air-7/\\x1b[2Jroof" in result.out


def test_what_ingest_s_checks_would_refuse_is_shown(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "pack.json"
    path.write_text('[{"n":"temperature","u":"Cel","v":85},{"n":"humidity","u":"%RH","v":41,"t":1700000000}]')
    result = alatau("decode", "senml/air-7", str(path), "--kind", "weather", *WHEN)
    assert result.code == 1
    assert "refused, out_of_range: temperature 85 is not between -60 and 60 Cel" in result.out
    assert "refused, time_too_old: time 2023-11-14T22:13:20Z is not between" in result.out
    assert "humidity 41" not in result.out


def test_our_own_format_is_explained_too(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "reading.json"
    path.write_text('{"ts": "2026-01-01T00:00:00Z", "pm2_5": 12.5, "pm25": 1}')
    topic = ("decode", "alatau/v1/air-7/telemetry", str(path))
    result = alatau(*topic, "--kind", "air_quality", *WHEN)
    assert result.code == 1
    assert "air-7 at 2026-01-01T00:00:00Z stored as air_quality value unit pm2_5 12.5 ug/m3" in result.out
    assert 'unknown_metric: air_quality has no metric "pm25"; did you mean "pm2_5"?' in result.out
    assert "give the kind" in alatau(*topic).errors


def test_a_profile_that_comes_with_us_is_taken_by_its_name(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "up.json"
    path.write_text('{"deviceInfo":{"devEui":"24e124aa00000007"},"fPort":2,"object":{"pressure":310}}')
    topic = "application/1/device/24e124aa00000007/event/up"
    result = alatau("decode", topic, str(path), "--profile", "milesight-em500-pp")
    assert result.code == 0, result.errors
    assert "stored as water value unit pressure 3.1 bar" in result.out
    wrong = alatau("decode", topic, str(path), "--profile", "milesight-em500-p")
    assert 'did you mean "milesight-em500-pp"?' in wrong.errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing/air-7", "{pack}"], "is of no format that is understood; valid: application/+"),
        (["senml/air-7"], "give a topic and a file, one after the other"),
        (["senml/air-7", "{pack}.not"], "give the path of a file"),
        (["senml/air-7", "{pack}", "--kind", "air_qualty"], 'did you mean "air_quality"?'),
        (["senml/air-7", "{pack}", "--received", "yesterday"], "write 2026-01-01T00:00:00Z"),
    ],
)
def test_what_can_not_be_done_is_said(
    alatau: Alatau, pack: pathlib.Path, arguments: list[str], said: str
) -> None:
    result = alatau("decode", *(one.format(pack=pack) for one in arguments))
    assert result.code == 1
    assert said in result.errors
