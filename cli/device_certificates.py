"""Certificates of devices: issuing, revoking, listing them, and the list of those that a broker shall refuse."""

from __future__ import annotations

import asyncio
import datetime as dt
import pathlib
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.table import Table

from broker.secrets import generate_secret
from cli.certificates import certificate_store
from cli.connections import broker_admin, owner_connection
from cli.console import answers
from cli.correct import user_name
from cli.secrets import credential_of, write_private
from cli.settings import Settings, SettingsError, load_settings
from sensors.accounts import LONGEST_GRACE
from sensors.errors import CatalogueError
from stack.pki import Certificate
from storage.audit import Event, record
from storage.certificates import list_certificates, load_invalid, revoke_certificates, store_certificate
from storage.devices import has_account, hold_device
from storage.kinds import Connection
from storage.rotations import replace_credential


def device(
    device_id: Annotated[str, typer.Argument(help="Its id, as it is registered.")],
    csr: Annotated[
        pathlib.Path | None,
        typer.Option(help="Signing request, PEM, of a key that never leaves the device; else a key is made."),
    ] = None,
) -> None:
    """Issue the certificate of a registered device, for a year, and print its file, which holds its key, too.

    With it the device connects without a secret, at the broker's port for certificates (ALATAU_MQTT_CERTIFICATES_PORT).

    [dim]Examples:[/]
      alatau pki device lamp-17
      alatau pki device lamp-17 --csr lamp-17.csr
    """
    request = None if csr is None else _read(csr)
    path = asyncio.run(_issue(load_settings(), device_id, request))
    answers.print(str(path), markup=False, soft_wrap=True)


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; give the file of a signing request") from error


async def _issue(settings: Settings, device_id: str, request: bytes | None) -> pathlib.Path:
    store = certificate_store(settings)
    async with owner_connection(settings) as connection, connection.transaction():
        await _require_admitted(connection, device_id)
        await _ensure_account(settings, connection, device_id)
        pem = store.issue_client(device_id, dt.datetime.now(dt.UTC), request)
        made = Certificate(pem)
        await store_certificate(connection, device_id, made.serial, made.fingerprint, made.expires)
        event = Event(user_name(), "issue certificate", subject=device_id, detail={"serial": made.serial})
        await record(connection, [event])
    # Not before it is on record: what is not can't be revoked.
    return store.keep_client(device_id, pem)


async def _require_admitted(connection: Connection, device_id: str) -> None:
    """Raise CatalogueError unless a device is registered and not disabled, which it stays to the transaction's end."""
    found = await hold_device(connection, device_id)
    if found is None:
        raise CatalogueError(f"no device {device_id} is registered; see: alatau device list")
    if found.disabled_at is not None:
        raise CatalogueError(
            f"device {device_id} is disabled; let it in first: alatau device enable {device_id}"
        )


async def _ensure_account(settings: Settings, connection: Connection, device_id: str) -> None:
    """Have the broker know the device: who it doesn't know is in no role, and what no device may is not refused."""
    if await has_account(connection, device_id):
        return
    admin = broker_admin(settings)
    if admin is None:
        raise SettingsError(
            f"device {device_id} has no account at the broker yet: set ALATAU_BROKER_ADMIN_PASSWORD, or give it "
            f"a secret first: alatau device secret {device_id}"
        )
    secret = generate_secret()  # which nobody gets to know
    async with admin:
        # One that rotation gave its second account has this long to go over to its certificate.
        user = await replace_credential(connection, device_id, credential_of(secret), LONGEST_GRACE)
        await admin.add_device(user, secret)


def revoke(
    name: Annotated[
        str, typer.Argument(help="A device's id, for all of its certificates; or a serial number.")
    ],
) -> None:
    """Revoke certificates of devices. Under `alatau up` the broker ends their connections within a second.

    Another broker learns it from `alatau pki revocations`.

    [dim]Examples:[/]
      alatau pki revoke lamp-17
      alatau pki revoke 3f2a9c
    """
    asyncio.run(_revoke(load_settings(), name))


async def _revoke(settings: Settings, name: str) -> None:
    async with owner_connection(settings) as connection, connection.transaction():
        revoked = await revoke_certificates(connection, name)
        if not revoked:
            raise CatalogueError(f"no valid certificate is of {name}; see: alatau pki list")
        events = [
            Event(user_name(), "revoke certificate", subject=one.device, detail={"serial": one.serial})
            for one in revoked
        ]
        await record(connection, events)
    for one in revoked:
        answers.print(f"{one.device}: {one.serial} is revoked", markup=False, soft_wrap=True)


def list_(device_id: Annotated[str | None, typer.Argument(help="Only of this device.")] = None) -> None:
    """List the certificates of devices that have not expired.

    [dim]Examples:[/]
      alatau pki list
      alatau pki list lamp-17
    """
    asyncio.run(_list(load_settings(), device_id))


async def _list(settings: Settings, device_id: str | None) -> None:
    async with owner_connection(settings) as connection:
        found = await list_certificates(connection, device_id)
        invalid = await load_invalid(connection)
    table = Table("device", "serial", "issued", "until", "state", box=None)
    for one in found:
        state = "valid" if one.serial not in invalid else "revoked" if one.revoked_at else "kept out"
        table.add_row(
            one.device, one.serial, f"{one.issued_at:%Y-%m-%d}", f"{one.expires_at:%Y-%m-%d}", state
        )
    answers.print(table)


def revocations(
    output: Annotated[
        pathlib.Path, typer.Option("--output", "-o", help="File to write, PEM.")
    ] = pathlib.Path("revoked.pem"),
) -> None:
    """Write the list of certificates that a broker of your own shall refuse (`crlfile`), for thirty days.

    The broker reads it again on SIGHUP. `alatau up` does both by itself.

    [dim]Example:[/]
      alatau pki revocations -o revoked.pem
    """
    settings = load_settings()
    serials = asyncio.run(_invalid(settings))
    now = dt.datetime.now(dt.UTC)
    authority = certificate_store(settings).ensure_authority(now)
    write_private(output, authority.revocations(serials, now))
    answers.print(f"{output}: {len(serials)} revoked", markup=False, soft_wrap=True)


async def _invalid(settings: Settings) -> dict[str, str]:
    async with owner_connection(settings) as connection:
        return await load_invalid(connection)


DEVICE_COMMANDS: dict[str, Callable[..., Any]] = {
    "device": device,
    "revoke": revoke,
    "list": list_,
    "revocations": revocations,
}
