"""Devices and their broker credentials: the device table is the truth that the broker's file is made from."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sensors.accounts import user_name
from sensors.catalogue import Catalogue, validate_device
from sensors.errors import CatalogueError
from sensors.kinds import DeviceSpec
from sensors.statuses import Said
from sensors.times import from_microseconds, parse_duration, parse_timestamp
from storage.kinds import Connection
from storage.rollup_marks import note_move

DEVICES_CHANNEL = "alatau_devices"
_ACCOUNTS = (
    "hashtext('alatau.accounts')"  # the lock of who changes the broker's accounts, and who compares them
)
DEVICES_CHANGED = "changed"  # what it says when known devices changed; nothing, when new ones were added


@dataclasses.dataclass(frozen=True, slots=True)
class Credential:
    """A device's password as it is stored, PBKDF2-HMAC-SHA512, and whether the broker lets it in."""

    salt: bytes
    hash: bytes
    iterations: int
    is_disabled: bool = False


class DeviceStatus(NamedTuple):
    """What a device, or its last will, said last, and when that was heard."""

    said: Said
    at: dt.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """A registered device; ``position`` is (longitude, latitude). Until ``old_secret_until`` two secrets are good."""

    device_id: int
    id: str
    kind: str
    district: str
    position: tuple[float, float] | None
    interval_seconds: float
    installed: dt.datetime | None
    simulated: bool
    metadata: dict[str, Any]
    registered_at: dt.datetime
    disabled_at: dt.datetime | None
    old_secret_until: dt.datetime | None
    status: DeviceStatus | None
    stored_through: (
        int | None
    )  # its last receipt: up to which number its readings are kept; None without numbers


async def register_devices(
    connection: Connection,
    specs: Sequence[DeviceSpec],
    catalogue: Catalogue,
    credentials: Mapping[str, Credential] | None = None,
) -> dict[str, int]:
    """Register those that are new and announce them; return their ids and numbers.

    Raises CatalogueError, before anything is written, when one isn't valid.
    """
    if not specs:
        return {}
    rows = []
    for spec in specs:
        check_device(spec, catalogue)
        credential = (credentials or {}).get(spec.id)
        rows.append(
            {
                "id": spec.id,
                "kind": spec.kind,
                "district": spec.district,
                "longitude": spec.position[0] if spec.position else None,
                "latitude": spec.position[1] if spec.position else None,
                "interval_seconds": _interval_seconds(spec, catalogue),
                "installed": _installed(spec),
                "simulated": spec.simulated,
                "metadata": spec.metadata,
                "salt": base64.b64encode(credential.salt).decode() if credential else None,
                "hash": base64.b64encode(credential.hash).decode() if credential else None,
                "iterations": credential.iterations if credential else None,
            }
        )
    await change_accounts(connection)
    added = await connection.fetch("SELECT new_device_id, new_id FROM alatau.register_devices($1)", rows)
    return {row["new_id"]: row["new_device_id"] for row in added}


def check_device(spec: DeviceSpec, catalogue: Catalogue) -> None:
    """Raise CatalogueError, naming the field, if a device can't be registered."""
    validate_device(spec, catalogue)
    _installed(spec)


def _interval_seconds(spec: DeviceSpec, catalogue: Catalogue) -> float:
    return parse_duration(spec.interval or catalogue.kind_of[spec.kind].interval) / 1e6


def _installed(spec: DeviceSpec) -> str | None:
    if spec.installed is None:
        return None
    try:
        return from_microseconds(parse_timestamp(spec.installed)).isoformat()
    except (ValueError, OverflowError) as error:
        raise CatalogueError(f"device {spec.id}.installed: {error}; write 2026-01-01T00:00:00Z") from None


async def update_devices(connection: Connection, specs: Sequence[DeviceSpec], catalogue: Catalogue) -> int:
    """Bring registered devices to what their specs say; return how many changed.

    A device's kind never changes, because its rows are stored by it: CatalogueError.
    """
    changed = 0
    for spec in specs:
        known = await connection.fetchrow(
            "SELECT device_id, kind, district FROM alatau.device WHERE id = $1", spec.id
        )
        if known is None or known["kind"] != spec.kind:
            raise CatalogueError(
                f"device {spec.id} is registered as {known and known['kind']}, the file says {spec.kind}; "
                "register what it is now under a new id"
            )
        if known["district"] != spec.district:
            await note_move(connection, catalogue.kind_of[spec.kind], known["device_id"], known["district"])
        position = spec.position or (None, None)
        status = await connection.execute(
            """
            UPDATE alatau.device
            SET district = $2, longitude = $3, latitude = $4, interval_seconds = $5,
                installed = $6::text::timestamptz, metadata = $7
            WHERE id = $1 AND (district, longitude, latitude, interval_seconds, installed, metadata)
                  IS DISTINCT FROM ($2, $3, $4, $5, $6::text::timestamptz, $7)
            """,
            spec.id,
            spec.district,
            *position,
            _interval_seconds(spec, catalogue),
            _installed(spec),
            spec.metadata,
        )
        changed += int(status.rpartition(" ")[2])
    if changed:
        await connection.execute("SELECT pg_notify($1, $2)", DEVICES_CHANNEL, DEVICES_CHANGED)
    return changed


_SELECT = """
    SELECT device_id, id, kind, district, longitude, latitude, interval_seconds, installed, simulated,
           metadata, registered_at, disabled_at,
           (SELECT c.until FROM alatau.device_credential c
            WHERE c.device_id = device.device_id AND c.until > now()) AS old_secret_until,
           (SELECT said FROM alatau.device_status s WHERE s.device_id = device.device_id) AS said,
           (SELECT at FROM alatau.device_status s WHERE s.device_id = device.device_id) AS said_at,
           (SELECT alatau.first_missing(received) - 1 FROM alatau.sequence s
            WHERE s.device_id = device.device_id) AS stored_through
    FROM alatau.device
"""


def _device(row: Any) -> Device:
    located = row["longitude"] is not None and row["latitude"] is not None
    return Device(
        device_id=row["device_id"],
        id=row["id"],
        kind=row["kind"],
        district=row["district"],
        position=(row["longitude"], row["latitude"]) if located else None,
        interval_seconds=row["interval_seconds"],
        installed=row["installed"],
        simulated=row["simulated"],
        metadata=row["metadata"],
        registered_at=row["registered_at"],
        disabled_at=row["disabled_at"],
        old_secret_until=row["old_secret_until"],
        status=None if row["said"] is None else DeviceStatus(Said(row["said"]), row["said_at"]),
        stored_through=row["stored_through"],
    )


async def find_device(connection: Connection, device: str) -> Device | None:
    """Return one device by its id."""
    row = await connection.fetchrow(f"{_SELECT} WHERE id = $1", device)
    return None if row is None else _device(row)


async def hold_device(connection: Connection, device: str) -> Device | None:
    """Return one device by its id, which nobody changes or deletes before the transaction ends."""
    row = await connection.fetchrow(f"{_SELECT} WHERE id = $1 FOR UPDATE", device)
    return None if row is None else _device(row)


async def list_devices(
    connection: Connection,
    *,
    after: str = "",
    limit: int = 100,
    kind: str | None = None,
    district: str | None = None,
    simulated: bool | None = None,
) -> list[Device]:
    """Return devices in the order of their ids, beginning after one of them: a keyset, never an offset."""
    rows = await connection.fetch(
        f"""
        {_SELECT}
        WHERE id > $1 AND ($2::text IS NULL OR kind = $2) AND ($3::text IS NULL OR district = $3)
              AND ($4::boolean IS NULL OR simulated = $4)
        ORDER BY id LIMIT $5
        """,
        after,
        kind,
        district,
        simulated,
        limit,
    )
    return [_device(row) for row in rows]


_ROUTE = "SELECT device_id, id, kind, interval_seconds FROM alatau.device"


async def load_routes(connection: Connection, after: int = 0) -> list[tuple[int, str, str, float]]:
    """Return (number, id, kind, interval in s) of every device registered after a number: what routes a message."""
    rows = await connection.fetch(f"{_ROUTE} WHERE device_id > $1 ORDER BY device_id", after)
    return [tuple(row) for row in rows]


async def find_routes(connection: Connection, devices: Sequence[str]) -> list[tuple[int, str, str, float]]:
    """Return (number, id, kind, interval in s) of those of some devices that are registered."""
    rows = await connection.fetch(f"{_ROUTE} WHERE id = ANY($1::text[])", devices)
    return [tuple(row) for row in rows]


# Passwords whose time is over are none, even while they are stored.
_ACCOUNTS_OF_DEVICES = """
    FROM alatau.device JOIN alatau.device_credential USING (device_id) WHERE until IS NULL OR until > now()
"""


async def places_of(connection: Connection, devices: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return kind and district of those of the devices that there are."""
    rows = await connection.fetch(
        "SELECT id, kind, district FROM alatau.device WHERE id = ANY($1::text[])", devices
    )
    return {row["id"]: (row["kind"], row["district"]) for row in rows}


async def load_credentials(connection: Connection) -> dict[str, Credential]:
    """Return the stored passwords of devices, by user name at the broker; only the owner's role may."""
    rows = await connection.fetch(
        f"SELECT id, slot, salt, hash, iterations, disabled_at IS NOT NULL AS is_disabled {_ACCOUNTS_OF_DEVICES}"
    )
    return {
        user_name(row["id"], row["slot"]): Credential(
            row["salt"], row["hash"], row["iterations"], row["is_disabled"]
        )
        for row in rows
    }


async def hold_accounts(connection: Connection) -> dict[str, bool]:
    """Return every user name that devices have, with whether the broker shall keep it out.

    In a transaction; nobody changes an account until that ends.
    """
    await compare_accounts(connection)
    rows = await connection.fetch(
        f"SELECT id, slot, disabled_at IS NOT NULL AS is_disabled {_ACCOUNTS_OF_DEVICES}"
    )
    return {user_name(row["id"], row["slot"]): row["is_disabled"] for row in rows}


async def has_account(connection: Connection, device: str) -> bool:
    """Return whether a device has a password for its id as user name, not about to end; only the owner's role may."""
    return bool(
        await connection.fetchval(
            """
            SELECT EXISTS (SELECT FROM alatau.device JOIN alatau.device_credential USING (device_id) WHERE id = $1
                           AND slot = 1 AND until IS NULL)
            """,
            device,
        )
    )


async def compare_accounts(connection: Connection) -> None:
    """Let nobody change an account before this transaction has ended: the broker's are looked at."""
    await connection.execute(f"SELECT pg_advisory_xact_lock({_ACCOUNTS})")


async def change_accounts(connection: Connection) -> None:
    """Let nobody compare the broker's accounts with the table before this transaction has ended: it changes both."""
    await connection.execute(f"SELECT pg_advisory_xact_lock_shared({_ACCOUNTS})")


async def disable_device(connection: Connection, device: str) -> None:
    """Keep a device out of the broker; once more changes nothing."""
    await change_accounts(connection)
    await connection.execute("SELECT alatau.disable_device($1)", device)


async def enable_device(connection: Connection, device: str) -> None:
    """Let a device in again; once more changes nothing."""
    await change_accounts(connection)
    await connection.execute("SELECT alatau.enable_device($1)", device)


async def delete_device(connection: Connection, device: str) -> bool:
    """Delete a device that is there and never had a reading; return False, and leave it, when it had one.

    Refused messages of it stay, as of no device.
    """
    await change_accounts(connection)
    return bool(await connection.fetchval("SELECT alatau.delete_device($1)", device))


async def oldest_simulated_latest(connection: Connection) -> dt.datetime | None:
    """Return until when every simulated device has readings, or None if one has none at all."""
    row = await connection.fetchrow(
        """
        SELECT min(latest.time) AS time, count(*) FILTER (WHERE latest.time IS NULL) AS silent
        FROM alatau.device LEFT JOIN alatau.latest USING (device_id) WHERE device.simulated
        """
    )
    return None if row is None or row["silent"] else row["time"]


async def count_simulated_behind(connection: Connection) -> int:
    """Return how many simulated devices have missed their last two readings; slow ones, over 6 hours, not counted."""
    behind = await connection.fetchval(
        """
        SELECT count(*) FROM alatau.device LEFT JOIN alatau.latest USING (device_id)
        WHERE simulated AND interval_seconds <= 21600
              AND (latest.time IS NULL OR latest.time < now() - make_interval(secs => 2 * interval_seconds))
        """
    )
    return int(behind)
