"""``query``: for people and for programs."""

from __future__ import annotations

import json
import pathlib
from collections.abc import AsyncIterator

import pytest

from sensors.catalogue import Catalogue
from stack.ports import free_port
from tests.cli.analysts import analysts_city
from tests.cli.command import Alatau
from tests.conftest import Database

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
async def settings(
    database: Database, catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, str]]:
    async with analysts_city(database, catalogue, tmp_path_factory.mktemp("exports")) as settings:
        yield settings


@pytest.fixture
def alatau(settings: dict[str, str], tmp_path: pathlib.Path) -> Alatau:
    return Alatau({**settings, "ALATAU_DATA_DIR": str(tmp_path)})


def test_each_series_is_a_line_with_a_chart(alatau: Alatau) -> None:
    result = alatau("query", "pm2_5", "--group-by", "district", "--step", "PT10M", "--start", "-PT2H")
    assert result.code == 0, result.errors
    assert "series unit avg over time lowest highest newest values" in result.out
    assert "pm2_5 gate ug/m3 " in result.out
    assert "pm2_5 golden ug/m3 " in result.out
    assert "█" in result.out
    assert "bucket pm2_5 gate avg pm2_5 golden avg" in result.out


def test_several_metrics_and_aggregates_are_columns(alatau: Alatau) -> None:
    result = alatau("query", "pm2_5", "temperature", "--agg", "max,min", "--step", "PT1H")
    assert "bucket pm2_5 max pm2_5 min temperature max temperature min" in result.out


def test_many_series_are_lines_only(alatau: Alatau) -> None:
    result = alatau("query", "pm2_5", "--agg", "avg,min,max,sum,count", "--group-by", "device")
    assert "pm2_5 air-2 ug/m3" in result.out
    assert "bucket" not in result.out


def test_the_listed_buckets_are_the_newest(alatau: Alatau) -> None:
    def lines(rows: int) -> int:
        printed = alatau("query", "pm2_5", "--step", "PT1M", "--start", "-PT30M", "--rows", str(rows))
        return printed.out.count(":00 ")

    assert lines(0) < lines(5) < lines(10)


def test_programs_get_the_answer_of_the_api(alatau: Alatau) -> None:
    answer = json.loads(alatau("query", "pm2_5", "--json", "--district", "gate", "--step", "PT1H").out)
    (group,) = answer["groups"]
    assert sum(group["count"]) == 60
    assert group["unit"] == "ug/m3"


def test_nothing_found_is_said(alatau: Alatau) -> None:
    result = alatau("query", "laeq")
    assert result.code == 0
    assert "no reading in the range has a value" in result.errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pm25"], 'did you mean "pm2_5"'),
        (["pm2_5", "--agg", "average"], 'did you mean "avg"'),
        (["pm2_5", "--start", "yesterday"], "-PT6H"),
        (["pm2_5", "--step", "PT1S", "--start", "-P30D"], "ask for step="),
    ],
)
def test_what_the_api_refuses_is_said_with_what_to_ask_instead(
    alatau: Alatau, arguments: list[str], said: str
) -> None:
    result = alatau("query", *arguments)
    assert result.code == 1
    assert said in result.errors


def test_a_wrong_key_is_said(alatau: Alatau) -> None:
    result = alatau("query", "pm2_5", ALATAU_API_KEY="alatau_wrong")
    assert result.code == 1
    assert "set ALATAU_API_KEY" in result.errors


def test_an_api_that_is_not_there_is_said(alatau: Alatau) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = alatau("query", "pm2_5", ALATAU_API_URL=url)
    assert result.code == 1
    assert f"the API at {url} does not answer" in result.errors
    assert "./alatau up" in result.errors


@pytest.mark.parametrize("url", ["nowhere", "http://", "ftp://127.0.0.1/"])
def test_an_address_that_is_none_is_said(alatau: Alatau, url: str) -> None:
    result = alatau("query", "pm2_5", ALATAU_API_URL=url)
    assert result.code == 1
    assert "ALATAU_API_URL" in result.errors


def test_the_city_of_up_is_asked_where_nothing_is_set(
    bare: Alatau, settings: dict[str, str], tmp_path: pathlib.Path
) -> None:
    assert "set ALATAU_API_URL" in bare("query", "pm2_5").errors
    (tmp_path / "data").mkdir()
    lines = [f"export {name}={value}\n" for name, value in settings.items()]
    (tmp_path / "data/env").write_text("".join(lines))
    assert bare("query", "pm2_5").code == 0
    # Its key is for itself alone.
    other = bare("query", "pm2_5", ALATAU_API_URL="http://127.0.0.1:1")
    assert "set ALATAU_API_KEY" in other.errors
