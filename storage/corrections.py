"""Corrections of stored readings: each in one transaction, with its author and its reason on record."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any, TypeAlias

import asyncpg

from sensors.kinds import Kind
from sensors.times import format_timestamp, from_microseconds
from storage.errors import PermanentError
from storage.kinds import Connection


class CorrectionError(PermanentError):
    """A correction is refused, and nothing was changed; the text ends with what to do."""


class HorizonError(CorrectionError):
    """It begins before the horizon of the readings."""


class ImplausibleError(CorrectionError):
    """It would make values that are not plausible."""


@dataclasses.dataclass(frozen=True, slots=True)
class Delete:
    """Whole readings go, or the values of one metric; a reading left without any value goes, too."""

    metric: str | None = None

    def document(self) -> dict[str, Any]:
        """Return it as it is recorded."""
        return {"delete": self.metric}


@dataclasses.dataclass(frozen=True, slots=True)
class Replace:
    """The values of a metric become one value. Where there is none, there still is none."""

    metric: str
    value: float

    def document(self) -> dict[str, Any]:
        """Return it as it is recorded."""
        return {"amend": self.metric, "set": self.value}


@dataclasses.dataclass(frozen=True, slots=True)
class Rescale:
    """The values of a metric become ``scale`` · value + ``offset``."""

    metric: str
    scale: float = 1.0
    offset: float = 0.0

    def document(self) -> dict[str, Any]:
        """Return it as it is recorded."""
        return {"amend": self.metric, "scale": self.scale, "offset": self.offset}


Action: TypeAlias = Delete | Replace | Rescale


@dataclasses.dataclass(frozen=True, slots=True)
class Correction:
    """What to do to the readings of a device from ``start`` to before ``end``, Unix µs; who asks, and why.

    ``is_forced``: values may leave the metric's plausible range.
    """

    device: str
    start: int
    end: int
    action: Action
    who: str
    why: str
    is_forced: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Corrected:
    """What came of it; ``number`` is None when there was nothing to change."""

    number: int | None
    changed: int
    deleted: int


@dataclasses.dataclass(frozen=True, slots=True)
class RecordedCorrection:
    """A correction on record; ``action`` as ``document`` of one of the actions returned it."""

    number: int
    at: dt.datetime
    who: str
    why: str
    device: str
    kind: str
    start: dt.datetime
    end: dt.datetime
    action: dict[str, Any]
    changed: int
    deleted: int


async def correct(connection: Connection, kind: Kind, correction: Correction) -> Corrected:
    """Correct the readings of a device of ``kind``, in a transaction. Raises CorrectionError."""
    low, high = _plausible(kind, correction)
    try:
        row = await connection.fetchrow(
            "SELECT number, changed, deleted FROM alatau.correct($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            correction.device,
            from_microseconds(correction.start),
            from_microseconds(correction.end),
            correction.action.document(),
            correction.why,
            correction.who,
            kind.columns,
            low,
            high,
        )
    except asyncpg.PostgresError as error:
        raise _refusal(error, correction, low, high) or error from error
    assert_row = row or {}
    return Corrected(assert_row["number"], assert_row["changed"], assert_row["deleted"])


async def try_correction(connection: Connection, kind: Kind, correction: Correction) -> Corrected:
    """Return what a correction would do, and do nothing: it is done and rolled back. Raises CorrectionError."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        return await correct(connection, kind, correction)
    finally:
        await transaction.rollback()


def _plausible(kind: Kind, correction: Correction) -> tuple[float | None, float | None]:
    if isinstance(correction.action, Delete) or correction.is_forced:
        return None, None
    metric = kind.metrics[kind.index[correction.action.metric]]
    return metric.minimum, metric.maximum


def _refusal(
    error: asyncpg.PostgresError, correction: Correction, low: float | None, high: float | None
) -> CorrectionError | None:
    detail = error.detail or ""
    if error.sqlstate == "P0A01":
        horizon = format_timestamp(int(detail))
        return HorizonError(
            f"{format_timestamp(correction.start)} is before {horizon}, where the readings of this kind begin: "
            f"older ones are gone, and their aggregates stay as they are; begin at {horizon} or later"
        )
    if error.sqlstate == "P0A02":
        count, least, greatest = detail.split()
        return ImplausibleError(
            f"{int(count):,} values would lie outside of the plausible {low:g} to {high:g} "
            f"({float(least):g} to {float(greatest):g}); correct them otherwise, or force it"
        )
    if error.sqlstate == "22003":
        return ImplausibleError("a value would be larger than a number can be; take a smaller scale")
    return None


async def list_corrections(
    connection: Connection,
    *,
    before: int | None = None,
    limit: int = 100,
    device: str | None = None,
    kind: str | None = None,
) -> list[RecordedCorrection]:
    """Return corrections, newest first, with numbers below ``before``: a keyset, never an offset."""
    rows = await connection.fetch(
        """
        SELECT c.*, d.id AS device FROM alatau.correction c JOIN alatau.device d USING (device_id)
        WHERE ($1::bigint IS NULL OR c.correction_id < $1) AND ($2::text IS NULL OR d.id = $2)
              AND ($3::text IS NULL OR c.kind = $3)
        ORDER BY c.correction_id DESC LIMIT $4
        """,
        before,
        device,
        kind,
        limit,
    )
    return [
        RecordedCorrection(
            number=row["correction_id"],
            at=row["corrected_at"],
            who=row["corrected_by"],
            why=row["why"],
            device=row["device"],
            kind=row["kind"],
            start=row["start"],
            end=row["stop"],
            action=row["action"],
            changed=row["rows_changed"],
            deleted=row["rows_deleted"],
        )
        for row in rows
    ]


async def data_version(connection: Connection, kind: Kind, start: int, end: int) -> int:
    """Return the number of the newest correction that touched a range (Unix µs) of a kind; 0 when none has."""
    version: int = await connection.fetchval(
        "SELECT alatau.data_version($1, $2, $3)", kind.name, from_microseconds(start), from_microseconds(end)
    )
    return version
