"""Versions of the servers: reading them, and which ones will do."""

import re

MINIMUM_POSTGRES = (15,)
MINIMUM_TIMESCALEDB = (2, 18, 1)
MINIMUM_MOSQUITTO = (2, 0, 21)
# An open regression groups by time_bucket wrongly in these, both ends included.
BROKEN_TIMESCALEDB = ((2, 28, 0), (2, 29, 2))

Version = tuple[int, ...]

_NUMBER = re.compile(r"\d+(?:\.\d+)*")


def find_version(text: str) -> str | None:
    """Return the first version number in `text`, such as 17.6 in `postgres (PostgreSQL) 17.6 (Debian)`."""
    match = _NUMBER.search(text)
    return match.group() if match else None


def as_numbers(version: str) -> Version:
    """Return `version` as numbers that compare; a suffix such as -dev or beta1 is left off."""
    match = _NUMBER.match(version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def postgres_objection(version: str) -> str | None:
    """Return why this PostgreSQL will not do, None if it will."""
    return _too_old("PostgreSQL", version, MINIMUM_POSTGRES)


def timescaledb_objection(version: str) -> str | None:
    """Return why this TimescaleDB will not do, None if it will."""
    first, last = BROKEN_TIMESCALEDB
    if first <= as_numbers(version) <= last:
        return f"TimescaleDB {version} groups time buckets wrongly"
    return _too_old("TimescaleDB", version, MINIMUM_TIMESCALEDB)


def mosquitto_objection(version: str) -> str | None:
    """Return why this Mosquitto will not do, None if it will."""
    return _too_old("Mosquitto", version, MINIMUM_MOSQUITTO)


def control_version(control: str) -> str:
    """Return the default_version of an extension's control file, empty if it names none."""
    for line in control.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "default_version":
            return value.partition("#")[0].strip().strip("'\"")
    return ""


def _too_old(name: str, version: str, minimum: Version) -> str | None:
    if as_numbers(version) >= minimum:
        return None
    return f"{name} {version} is older than {'.'.join(map(str, minimum))}"
