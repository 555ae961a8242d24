"""Topics and the formats that own them."""

from __future__ import annotations

import pathlib

import pytest

from ingest.decoders.parsed import Format
from ingest.decoders.table import FORMATS, NAMES, match
from sensors.catalogue import Catalogue
from sensors.profiles import check_profile, read_profiles

DOCS = pathlib.Path(__file__).parents[3] / "docs" / "formats"


@pytest.mark.parametrize(
    ("pattern", "topic", "levels"),
    [
        ("tele/+/SENSOR", "tele/air7/SENSOR", ("air7",)),
        ("tele/+/SENSOR", "tele/air7/STATE", None),
        ("tele/+/SENSOR", "tele/SENSOR", None),
        ("senml/#", "senml/a/b", ("a/b",)),
        ("senml/#", "senml", ("",)),
        ("spBv1.0/+/NDATA/+", "spBv1.0/alatau/NDATA/gw1", ("alatau", "gw1")),
        ("a/+", "a/b/c", None),
    ],
)
def test_wildcards_match_as_the_broker_s(pattern: str, topic: str, levels: tuple[str, ...] | None) -> None:
    assert match(pattern, topic) == levels


def test_names_of_formats_are_their_own() -> None:
    assert len({one.name for one in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize("wire", FORMATS, ids=lambda one: one.name)
def test_a_format_has_a_page_that_the_index_names(wire: Format) -> None:
    assert (DOCS / f"{wire.name}.md").exists()
    assert f"]({wire.name}.md)" in (DOCS / "README.md").read_text()


def test_the_profile_of_the_page_is_a_good_one(catalogue: Catalogue) -> None:
    text = (DOCS / "README.md").read_text().partition("```toml\n")[2].partition("```")[0]
    (profile,) = read_profiles(text.encode(), "README.md")
    check_profile(profile, catalogue, NAMES)
