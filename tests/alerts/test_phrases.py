"""What alerts say: every phrase in every language, and in English word for word; without servers."""

from __future__ import annotations

import json
import pathlib
import re
import zoneinfo

import pytest

from alerts import phrases
from alerts.phrases import phrase
from alerts.service import builtin_rules
from alerts.speech import Speech
from sensors.catalogue import Catalogue
from sensors.kinds import Metric
from sensors.messages import Language, Phrase
from sensors.times import SECOND
from tests.alerts.told import EXAMPLES, NOON, PM

ZONE = zoneinfo.ZoneInfo("Asia/Almaty")
# Plural forms by CLDR; one alone is of a text that is the same for any number.
FORMS = {"en": {"one", "other"}, "ru": {"one", "few", "many", "other"}, "kk": {"other"}}
TEXTS: dict[str, dict[str, str]] = {
    language: json.loads(pathlib.Path(f"dashboard/locales/{language}.json").read_text()) for language in FORMS
}
SAID = ("alert.title.", "alert.text.")


def places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def by_key(language: str) -> dict[str, dict[str, str]]:
    """Return the texts of phrases by key, and by form where they have forms."""
    found: dict[str, dict[str, str]] = {}
    for name, text in TEXTS[language].items():
        key, _, form = name.rpartition(".")
        if name.startswith(SAID):
            is_form = form in FORMS["ru"]
            found.setdefault(key if is_form else name, {})[form if is_form else ""] = text
    return found


@pytest.mark.parametrize("language", FORMS)
def test_every_phrase_has_its_texts_in_every_language(language: str) -> None:
    found, english = by_key(language), by_key("en")
    assert set(found) == set(english)
    for key, forms in found.items():
        assert ("" in forms) == ("" in english[key]), key
        assert set(forms) in ({""}, {"other"}, FORMS[language]), key


@pytest.mark.parametrize("language", FORMS)
def test_every_text_has_the_places_that_its_arguments_fill(language: str) -> None:
    found = by_key(language)
    for one, _ in EXAMPLES:
        for form, text in found[one["key"]].items():
            # One of something may be said without its figure.
            spared = {"n"} if form == "one" else set()
            assert places(text) | spared == set(one["args"]) | spared, (language, one["key"], form)


@pytest.mark.parametrize("language", [Language.RUSSIAN, Language.KAZAKH])
def test_no_phrase_stays_english(catalogue: Catalogue, language: Language) -> None:
    speech = Speech(NOON, ZONE, catalogue, language)
    for one, english in EXAMPLES:
        said = speech.say(one)
        assert said != english
        assert re.search("[а-яё]", said)
        assert not re.search(r"[{}]", said)


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, "1 раз"), (2, "2 раза"), (5, "5 раз"), (11, "11 раз"), (21, "21 раз"), (22, "22 раза"), (112, "112 раз"),
     (1203, "1\u00a0203 раза")],
)  # fmt: skip
def test_russian_counts_as_it_must(n: int, expected: str) -> None:
    said = Speech(NOON, ZONE, language=Language.RUSSIAN).say(phrase("text.times", n=phrases.count(n)))
    assert said == f"За предыдущие 30 дней так было {expected}."


def test_there_is_an_example_of_every_phrase() -> None:
    assert {one["key"] for one, _ in EXAMPLES} == set(by_key("en"))


def test_the_code_asks_for_no_phrase_that_there_is_not_and_for_every_one() -> None:
    source = "".join(path.read_text() for path in pathlib.Path("alerts").glob("*.py"))
    asked = set(re.findall(r'phrase\(\s*f?"((?:title|text)\.[^"]+)"', source))
    keys = {key.removeprefix("alert.") for key in by_key("en")}
    patterns = {one: re.compile(re.sub(r"\\\{.*?\\\}", r"[a-z]+", re.escape(one))) for one in asked}
    for one, pattern in patterns.items():
        assert any(pattern.fullmatch(key) for key in keys), one
    for key in keys:
        assert any(pattern.fullmatch(key) for pattern in patterns.values()), key


@pytest.mark.parametrize(("said", "expected"), EXAMPLES, ids=[one["key"] for one, _ in EXAMPLES])
def test_a_phrase_is_said_in_english(catalogue: Catalogue, said: Phrase, expected: str) -> None:
    assert Speech(NOON, ZONE, catalogue).say(said) == expected


def test_sentences_follow_each_other(catalogue: Catalogue) -> None:
    first, second = (phrase("text.times", n=phrases.count(n)) for n in (1, 2))
    assert Speech(NOON, ZONE, catalogue).say(first, second) == (
        "It was so 1 time in the 30 days before. It was so 2 times in the 30 days before."
    )


@pytest.mark.parametrize(
    ("value", "resolution", "unit", "expected"),
    [
        (163.24, 0.1, "ug/m3", "163.2 µg/m³"),
        (0.25, 0.1, "bar", "0.2 bar"),  # a half goes to the even digit
        (-0.04, 0.1, "Cel", "0.0 °C"),
        (0.00049, 0.0001, "m", "0.000 m"),
        (12, 1, "{vehicle}", "12"),
        (12.5, 1, "{KZT}", "12.5 ₸"),
        (1234.5, 0.1, "[ppm]", "1,234 ppm"),
        (7, 1, "{of_a_city_file}", "7"),
        (0.5, 0.01, "1", "0.50"),
    ],
)
def test_a_value_has_as_many_digits_as_say_something(
    value: float, resolution: float, unit: str, expected: str
) -> None:
    made = phrases.quantity(value, Metric("m", "M", unit, -1e9, 1e9, resolution))
    assert Speech(NOON, ZONE).say(
        phrase("text.spike", metric=phrases.metric(PM), device=phrases.device("d"), value=made)
    ) == (f"One reading of PM2.5 from d was {expected}.")


@pytest.mark.parametrize(
    ("value", "expected"), [(0.3, (0.3, 1)), (150, (150, 0)), (0.123456789, (0.123457, 6)), (2.5, (2.5, 1))]
)
def test_a_figure_has_no_digits_that_say_nothing(value: float, expected: tuple[float, int]) -> None:
    made = phrases.figure(value)
    assert (made["value"], made["digits"]) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(59, "59 seconds"), (60, "1 minute"), (90, "90 seconds"), (3600, "1 hour"), (5400, "90 minutes"),
     (86_400, "1 day"), (100_000, "27 hours"), (172_800, "2 days")],
)  # fmt: skip
def test_a_span_is_said_in_the_largest_unit_that_fits(seconds: int, expected: str) -> None:
    said = Speech(NOON, ZONE).say(phrase("text.expected_every", span=phrases.span(seconds * SECOND)))
    assert said == f"A reading is expected every {expected}."


def test_what_a_city_has_added_is_called_as_its_catalogue_says_and_what_is_gone_by_its_name(
    catalogue: Catalogue,
) -> None:
    said = phrase("title.kind_silent", kind=phrases.kind("gone"), where=phrases.district("green"))
    assert Speech(NOON, ZONE, catalogue).say(said) == "Most devices are silent (gone): Green District"
    assert Speech(NOON, ZONE).say(said) == "Most devices are silent (gone): green"


def test_sources_of_the_limits_that_come_with_us_are_told_in_every_language() -> None:
    sources = {rule.definition["source"] for rule in builtin_rules() if rule.definition.get("source")}
    for language, texts in TEXTS.items():
        told = {name.removeprefix("alert.source.") for name in texts if name.startswith("alert.source.")}
        assert told == sources, language
