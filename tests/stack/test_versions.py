import pytest

from stack.versions import (
    as_numbers,
    control_version,
    find_version,
    mosquitto_objection,
    postgres_objection,
    timescaledb_objection,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres (PostgreSQL) 17.6 (Debian 17.6-0+deb13u1)", "17.6"),
        ("mosquitto version 2.0.21\n\nmosquitto is an MQTT broker", "2.0.21"),
        ("mosquitto_pub version 2.0.21 running on libmosquitto 2.0.22.", "2.0.21"),
        ("postgres (PostgreSQL) 18beta1", "18"),
        ("cannot execute", None),
    ],
)
def test_versions_are_found_in_what_programs_print(text: str, expected: str | None) -> None:
    assert find_version(text) == expected


def test_versions_compare_as_numbers() -> None:
    assert as_numbers("2.9.0") < as_numbers("2.19.3")
    assert as_numbers("2.20.0-dev") == (2, 20, 0)
    assert as_numbers("unknown") == ()


def test_control_file_names_the_extension_version() -> None:
    assert control_version("comment = 'x'\ndefault_version = '2.19.3' # now\nrelocatable = false") == "2.19.3"
    assert control_version("comment = 'x'") == ""


@pytest.mark.parametrize("version", ["2.18.0", "2.9.3", "2.28.0", "2.29.2", ""])
def test_unsuitable_timescaledb_is_refused_with_a_reason(version: str) -> None:
    assert timescaledb_objection(version)


@pytest.mark.parametrize("version", ["2.18.1", "2.19.3", "2.27.4", "2.29.3"])
def test_suitable_timescaledb_is_accepted(version: str) -> None:
    assert timescaledb_objection(version) is None


def test_minimum_versions_are_named() -> None:
    assert postgres_objection("14.9") == "PostgreSQL 14.9 is older than 15"
    assert postgres_objection("15.0") is None
    assert mosquitto_objection("2.0.20") == "Mosquitto 2.0.20 is older than 2.0.21"
    assert mosquitto_objection("2.1.2") is None
