"""Registering many devices at once: a CSV file in, a CSV file with what became of each row out."""

from __future__ import annotations

import csv
import dataclasses
import enum
import os
import pathlib
from collections import Counter
from collections.abc import Sequence

from broker.admin import BrokerAdmin
from broker.secrets import generate_secret
from broker.standstill import is_restart_quicker, standstill_seconds
from cli.correct import user_name
from cli.secrets import credential_of
from cli.settings import SettingsError
from sensors.catalogue import Catalogue
from sensors.errors import CatalogueError, did_you_mean
from sensors.kinds import DeviceSpec
from stack.progress import Report
from storage.audit import Event, record
from storage.broker_restarts import is_broker_kept
from storage.devices import check_device, register_devices
from storage.kinds import Connection

_NEEDED = ("id", "kind", "district")
_COLUMNS = (*_NEEDED, "longitude", "latitude", "interval", "installed")
_AT_ONCE = 1000
_STANDSTILL_SECONDS = (
    30.0  # that the running broker is put to, all batches together, where nobody would restart it
)


class Verdict(enum.StrEnum):
    """What became of a row."""

    REGISTERED = "registered"
    THERE_ALREADY = "there already"  # left as it is
    REFUSED = "refused"


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """How many rows became what, and whether the running broker was told of them."""

    counts: Counter[Verdict]
    is_told: bool


@dataclasses.dataclass(slots=True)
class _Row:
    id: str
    spec: DeviceSpec | None = None  # None of one that is refused
    verdict: Verdict = Verdict.REFUSED
    detail: str = ""
    secret: str = ""


async def add_from_file(
    connection: Connection,
    admin: BrokerAdmin | None,
    catalogue: Catalogue,
    file: pathlib.Path,
    output: pathlib.Path,
    report: Report,
) -> Done:
    """Register the devices of a CSV file, a thousand in a transaction, and write what became of each to ``output``,
    which only its owner can read.

    The broker is told, unless a restart would be sooner done; where nobody would do that, unless it
    would hold it up for long. A second run goes on where one has ended: it leaves those that are there.
    Raises SettingsError for a file that can't be used.
    """
    rows = _read(file, catalogue)
    new = sum(row.spec is not None for row in rows)
    if admin is not None and await _is_too_slow(connection, new, await admin.count_accounts()):
        admin = None
    try:
        # New: what is there may have the only copy of secrets.
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SettingsError(f"{output}: {error.strerror}; give another file with --output") from None
    with os.fdopen(descriptor, "w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(("id", "verdict", "detail", "secret"))
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            async with connection.transaction():
                await _register(connection, admin, catalogue, part)
                # Before the commit: no secret is lost of a device that is registered.
                writer.writerows((row.id, row.verdict.value, row.detail, row.secret) for row in part)
                target.flush()
            report(f"{start + len(part):,}", (start + len(part)) / len(rows))
    return Done(Counter(row.verdict for row in rows), admin is not None)


async def _is_too_slow(connection: Connection, new: int, accounts: int) -> bool:
    if await is_broker_kept(connection):
        return is_restart_quicker(new, accounts)
    return standstill_seconds(new, accounts) > _STANDSTILL_SECONDS


async def _register(
    connection: Connection, admin: BrokerAdmin | None, catalogue: Catalogue, rows: Sequence[_Row]
) -> None:
    specs = [row.spec for row in rows if row.spec is not None]
    secrets = {spec.id: generate_secret() for spec in specs}
    credentials = {device: credential_of(secret) for device, secret in secrets.items()}
    added = await register_devices(connection, specs, catalogue, credentials)
    for row in rows:
        if row.spec is not None:
            row.verdict = Verdict.REGISTERED if row.id in added else Verdict.THERE_ALREADY
            row.secret = secrets[row.id] if row.id in added else ""
    if added:
        detail = {"count": len(added), "first": min(added), "last": max(added)}
        await record(connection, [Event(user_name(), "register devices", detail=detail)])
        if admin is not None:
            await admin.add_devices([(device, secrets[device]) for device in added])


def _read(file: pathlib.Path, catalogue: Catalogue) -> list[_Row]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as source:
            reader = csv.DictReader(source)
            names = reader.fieldnames or ()
            for name in names:
                if name not in _COLUMNS:
                    raise SettingsError(
                        f"{file}: no column {name!r} is known; {did_you_mean(name, _COLUMNS)}"
                    )
            if missing := [name for name in _NEEDED if name not in names]:
                raise SettingsError(f"{file}: the first line needs the columns {', '.join(missing)}")
            cells = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{file}: {error}") from None
    seen: set[str] = set()
    return [_row(one, catalogue, seen) for one in cells]


def _row(cells: dict[str, str], catalogue: Catalogue, seen: set[str]) -> _Row:
    row = _Row(cells["id"] or "")
    try:
        if None in cells or None in cells.values():
            raise CatalogueError("the row has more or fewer cells than the first line")
        if row.id in seen:
            raise CatalogueError("the file has this id before")
        spec = _spec(cells)
        check_device(spec, catalogue)
    except CatalogueError as error:
        row.detail = str(error)
    else:
        row.spec = spec
        seen.add(row.id)
    return row


def _spec(cells: dict[str, str]) -> DeviceSpec:
    place = [cells.get(name, "") for name in ("longitude", "latitude")]
    try:
        position = (float(place[0]), float(place[1])) if any(place) else None
    except ValueError:
        raise CatalogueError("longitude and latitude: write degrees such as 76.95 and 43.48") from None
    return DeviceSpec(
        cells["id"],
        cells["kind"],
        cells["district"],
        position,
        cells.get("interval") or None,
        cells.get("installed") or None,
    )
