"""City files: what they add, and errors that name file, key and what would be right."""

from __future__ import annotations

import pathlib

import msgspec
import pytest

from sensors.catalogue import Catalogue, build_catalogue, builtin_file, parse_city_file, read_city_file
from sensors.errors import CatalogueError

EXTENDED = """
[[district]]
name = "harbour"
title = "Harbour"
outline = [[76.0, 43.0], [76.1, 43.0], [76.1, 43.1]]

[[metric]]
kind = "noise"
name = "lcpeak"
title = "C-weighted peak"
unit = "dB"
minimum = 0
maximum = 180
resolution = 0.1

[[kind]]
name = "soil"
title = "Soil probe"
interval = "PT10M"
metric = [{ name = "moisture", title = "Moisture", unit = "%", minimum = 0, maximum = 100, resolution = 0.1 }]
"""


def extend(text: str, catalogue: Catalogue) -> Catalogue:
    return build_catalogue(parse_city_file(text, "my.toml"), "my.toml", catalogue)


def test_the_thirteen_builtin_kinds_are_valid(catalogue: Catalogue) -> None:
    assert len(catalogue.kinds) == 13
    assert [district.name for district in catalogue.districts] == ["gate", "golden", "growing", "green"]


def test_a_city_file_adds_and_never_removes(catalogue: Catalogue) -> None:
    extended = extend(EXTENDED, catalogue)
    assert extended.kind_of["noise"].columns == (*catalogue.kind_of["noise"].columns, "lcpeak")
    assert set(extended.kind_of) == {*catalogue.kind_of, "soil"}
    assert set(extended.district_of) == {*catalogue.district_of, "harbour"}


def test_applying_a_file_twice_changes_nothing(catalogue: Catalogue) -> None:
    extended = extend(EXTENDED, catalogue)
    assert extend(EXTENDED, extended) == extended


def test_metrics_added_by_an_earlier_file_stay_when_another_is_applied(catalogue: Catalogue) -> None:
    extended = extend(EXTENDED, catalogue)
    assert build_catalogue(builtin_file("alatau"), "alatau.toml", extended) == extended


def test_yaml_says_the_same_as_toml(tmp_path: pathlib.Path, catalogue: Catalogue) -> None:
    as_toml = parse_city_file(EXTENDED, "my.toml")
    path = tmp_path / "my.yaml"
    path.write_bytes(msgspec.yaml.encode(msgspec.to_builtins(as_toml)))
    assert read_city_file(path) == as_toml


def test_a_catalogue_survives_its_json(catalogue: Catalogue) -> None:
    assert msgspec.json.decode(msgspec.json.encode(catalogue), type=Catalogue) == catalogue


KIND = '[[kind]]\nname = "{name}"\ntitle = "T"\ninterval = "{interval}"\nmetric = [{metric}]\n'
METRIC = '{{ name = "{name}", title = "M", unit = "{unit}", minimum = {low}, maximum = 9, resolution = 1 }}'


def kind_file(
    name: str = "x", interval: str = "PT1M", metric: str = "m", unit: str = "1", low: float = 0
) -> str:
    return KIND.format(name=name, interval=interval, metric=METRIC.format(name=metric, unit=unit, low=low))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("city = 3", ["my.toml", "$.city"]),
        ("[[kind]]\nnme = 'x'", ["nme", 'did you mean "name"?']),
        ("nonsense", ["my.toml", "not readable"]),
        (EXTENDED.replace('kind = "noise"', 'kind = "nois"'), ['"nois"', 'did you mean "noise"?']),
        (kind_file(name="Big Name"), ["lower case"]),
        (kind_file(interval="1 minute"), ["kind x.interval", "PT5M"]),
        (kind_file(interval="PT0S"), ["above zero"]),
        (kind_file(metric="ts"), ["x.ts", "none of"]),
        (kind_file(metric="M"), ["lower case letters"]),
        (kind_file(low=10), ["minimum 10 must be below maximum 9"]),
        (kind_file(unit="not a unit"), ["UCUM"]),
        (kind_file().replace("maximum = 9", "maximum = inf"), ["x.m", "finite numbers"]),
        (kind_file().replace("resolution = 1", "resolution = nan"), ["x.m", "finite numbers"]),
        (kind_file().replace("resolution = 1", "resolution = 0"), ["above zero"]),
        (kind_file(interval="P999999999999D"), ["longer than a year"]),
        (
            '[[device]]\nid = "alatau-x"\nkind = "noise"\ndistrict = "gate"',
            ["device[0].id", "names of services"],
        ),
        ('[[device]]\nid = "a"\nkind = "noise"\ndistrict = "gate"\n' * 2, ["device[1].id", "there twice"]),
        (
            kind_file(metric="temperature", unit="K"),
            ["air_quality.temperature", "one quantity in the whole city"],
        ),
        (
            kind_file(name="noise", metric="laeq", unit="B"),
            ["noise.laeq", "give the new quantity a new name"],
        ),
        (EXTENDED.replace("[76.0, 43.0]", "[43.0, 760.0]"), ["longitude comes first"]),
        ('[city]\nname = "x"\ntitle = "X"\ntimezone = "Asia/Almati"', ['did you mean "Asia/Almaty"?']),
        ('[[device]]\nid = "a/b"\nkind = "noise"\ndistrict = "gate"', ["device[0].id", "1 to 64 letters"]),
        ('[[device]]\nid = "a"\nkind = "nois"\ndistrict = "gate"', ['did you mean "noise"?']),
        ('[[device]]\nid = "a"\nkind = "noise"\ndistrict = "gte"', ['did you mean "gate"?']),
    ],
)
def test_a_wrong_file_is_refused_with_what_would_be_right(
    text: str, words: list[str], catalogue: Catalogue
) -> None:
    with pytest.raises(CatalogueError) as refused:
        extend(text, catalogue)
    for word in words:
        assert word in str(refused.value)


def test_the_first_file_must_name_the_city() -> None:
    with pytest.raises(CatalogueError, match=r"no \[city\]"):
        build_catalogue(parse_city_file("", "my.toml"), "my.toml")


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes("title = 'Zürich'".encode("latin-1"))
    with pytest.raises(CatalogueError, match="save the file as UTF-8"):
        read_city_file(path)


def test_a_missing_file_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CatalogueError, match=r"absent\.toml: No such file"):
        read_city_file(tmp_path / "absent.toml")
