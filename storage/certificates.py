"""Certificates of devices: which were issued, and which are valid no more."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from storage.kinds import Connection


@dataclasses.dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """What is kept of a certificate: ``serial`` in hex, ``fingerprint`` its SHA-256. Not its key, which is nowhere."""

    serial: str
    device: str
    fingerprint: str
    issued_at: dt.datetime
    expires_at: dt.datetime
    revoked_at: dt.datetime | None


async def store_certificate(
    connection: Connection, device: str, serial: str, fingerprint: str, expires_at: dt.datetime
) -> None:
    """Note that a registered device was issued a certificate."""
    await connection.execute(
        """
        INSERT INTO alatau.device_certificate (serial, device, device_id, fingerprint, expires_at)
        SELECT $2, id, device_id, $3, $4 FROM alatau.device WHERE id = $1
        """,
        device,
        serial,
        fingerprint,
        expires_at,
    )


async def revoke_certificates(connection: Connection, name: str) -> list[IssuedCertificate]:
    """Revoke all certificates of a device, or where none of this name has any, the one of a serial number; return those
    that were valid until now."""
    rows = await connection.fetch(
        """
        UPDATE alatau.device_certificate SET revoked_at = now()
        WHERE CASE WHEN EXISTS (SELECT FROM alatau.device_certificate WHERE device = $1)
                   THEN device = $1 ELSE serial = $1 END AND revoked_at IS NULL AND expires_at > now() RETURNING *
        """,
        name,
    )
    return [_issued(row) for row in rows]


async def list_certificates(connection: Connection, device: str | None = None) -> list[IssuedCertificate]:
    """Return the certificates that have not expired, of all devices or of one, in the order of ids and times."""
    rows = await connection.fetch(
        """
        SELECT * FROM alatau.device_certificate
        WHERE expires_at > now() AND ($1::text IS NULL OR device = $1) ORDER BY device, issued_at
        """,
        device,
    )
    return [_issued(row) for row in rows]


async def load_invalid(connection: Connection) -> dict[str, str]:
    """Return the serial numbers of certificates that would be valid, each with its device, but that was disabled or
    deleted, or they were revoked."""
    rows = await connection.fetch(
        """
        SELECT serial, device FROM alatau.device_certificate AS issued LEFT JOIN alatau.device USING (device_id)
        WHERE expires_at > now() AND (revoked_at IS NOT NULL OR issued.device_id IS NULL OR disabled_at IS NOT NULL)
        """
    )
    return {row["serial"]: row["device"] for row in rows}


def _issued(row: Any) -> IssuedCertificate:
    return IssuedCertificate(
        row["serial"],
        row["device"],
        row["fingerprint"],
        row["issued_at"],
        row["expires_at"],
        row["revoked_at"],
    )
