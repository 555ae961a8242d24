"""Values written into statements, held against what the server reads."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.database import connect
from storage.literals import with_literals
from tests.conftest import Database

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
INTEGERS = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(allow_nan=False)
TIMES = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001
OF_TYPE = {
    "text": TEXTS,
    "bigint": INTEGERS,
    "float8": NUMBERS,
    "boolean": st.booleans(),
    "timestamptz": TIMES,
}
ONE = st.sampled_from(sorted(OF_TYPE)).flatmap(lambda name: st.tuples(st.just(name), OF_TYPE[name]))
MANY = st.sampled_from(sorted(OF_TYPE)).flatmap(
    lambda name: st.tuples(st.just(f"{name}[]"), st.lists(st.none() | OF_TYPE[name]))
)


@pytest.mark.servers
@pytest.mark.parametrize("conforming", ["on", "off"])
async def test_the_server_reads_every_literal_as_the_value_that_was_written(
    database: Database, conforming: str
) -> None:
    connection = await connect(database.owner_url, application="test")
    await connection.execute(f"SET standard_conforming_strings = {conforming}")
    cases: list[tuple[str, Any]] = []

    @settings(max_examples=300, database=None)
    @given(ONE | MANY)
    def collect(case: tuple[str, Any]) -> None:
        cases.append(case)

    collect()
    try:
        times = [value for type_, value in cases if type_ == "timestamptz"]
        many = np.array([time.replace(tzinfo=None) for time in times], "datetime64[us]")
        assert await connection.fetchval(with_literals("SELECT $1::timestamptz[]", [many])) == times
        for type_, value in [
            *cases,
            ("text", None),
            ("text", "$1 \\' $2"),
            ("text[]", ["$1", '"\\', "NULL", ""]),
        ]:
            statement = with_literals(f"SELECT $1::{type_} AS value, $2::int AS next", [value, 7])
            row = await connection.fetchrow(statement)
            assert row is not None
            assert (row["value"], row["next"]) == (value, 7)
    finally:
        await connection.close()


@pytest.mark.parametrize("value", [b"bytes", dt.datetime(2026, 1, 1), {"a": 1}, "\0", ["\0"]])  # noqa: DTZ001
def test_what_has_no_literal_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        with_literals("SELECT $1", [value])
