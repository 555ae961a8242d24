"""For containers: the broker's files, and the secrets that ``docker-compose.yml`` asks for."""

from __future__ import annotations

import asyncio
import datetime as dt
import pathlib
from typing import Annotated

import typer

from broker.accounts import DEVICE_ROLE, Service, role_of
from broker.config import BrokerOptions, SecureListener, write_broker_files, write_certificate
from broker.secrets import HashedSecret, generate_secret, hash_secret
from cli.certificates import server_certificate
from cli.connections import owner_connection
from cli.console import answers
from cli.settings import Settings, SettingsError, load_settings
from cli.speeches import SPEECHES
from sensors.topics import Topics
from storage.accounts import load_all_credentials
from storage.api_keys import generate_key

_PASSWORDS = (
    "POSTGRES_PASSWORD",
    "ALATAU_DATABASE_OWNER_PASSWORD",
    "ALATAU_DATABASE_INGEST_PASSWORD",
    "ALATAU_DATABASE_API_PASSWORD",
    "ALATAU_DATABASE_MAINTENANCE_PASSWORD",
    "ALATAU_DATABASE_ALERTS_PASSWORD",
    "ALATAU_DATABASE_READER_PASSWORD",
    "ALATAU_BROKER_ADMIN_PASSWORD",
    "ALATAU_BROKER_INGEST_PASSWORD",
    "ALATAU_BROKER_SIMULATOR_PASSWORD",
    "ALATAU_BROKER_CLAIMS_PASSWORD",
    "ALATAU_BROKER_ALERTS_PASSWORD",
    "ALATAU_BROKER_LISTENER_PASSWORD",
    "GRAFANA_ADMIN_PASSWORD",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (broker_files, compose_env):
        app.command(rich_help_panel="Containers")(command)


def broker_files(
    directory: Annotated[pathlib.Path, typer.Argument(help="Where to write; the broker must own it.")],
    plugin: Annotated[
        pathlib.Path, typer.Option(help="The dynamic-security plugin, where the broker sees it.")
    ] = pathlib.Path("/usr/lib/mosquitto_dynamic_security.so"),
    address: Annotated[str, typer.Option(help="Address the broker listens on for TLS.")] = "0.0.0.0",  # noqa: S104 - TLS only
    tls_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port the broker listens on for TLS.")
    ] = 8883,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of plain text, on its loopback address only.")
    ] = 1883,
    seen_as: Annotated[
        str | None, typer.Option(help="Path of the directory where the broker sees it, if another.")
    ] = None,
) -> None:
    """Write mosquitto.conf, the access rules, the certificate, and all accounts, made from the device table.

    The broker rewrites the accounts when a device is registered: run this as the user that it runs as. The certificate
    is the one that ALATAU_TLS_CERTIFICATE names, or that of `alatau pki server`, made if there is none.

    [dim]Examples:[/]
      alatau broker-files /broker --seen-as /mosquitto/data
      alatau broker-files /etc/alatau-broker --plugin /usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so
    """
    options = BrokerOptions(
        port=port,
        data_dir=directory,
        plugin=plugin,
        secure=SecureListener(tls_port, address),
        seen_as=pathlib.PurePosixPath(seen_as) if seen_as else None,
    )
    asyncio.run(_broker_files(load_settings(), options))


async def _broker_files(settings: Settings, options: BrokerOptions) -> None:
    services = _services(settings)
    now = dt.datetime.now(dt.UTC)
    certificate = server_certificate(settings, [], now)
    async with owner_connection(settings) as connection:
        accounts = await load_all_credentials(connection)
    try:
        write_broker_files(options, Topics(settings.topic_root), SPEECHES, services, accounts.items())
        write_certificate(options, certificate.read(now))
    except OSError as error:
        raise SettingsError(
            f"{error.filename or options.data_dir}: {error.strerror}; "
            "give a directory that this user may write to"
        ) from error
    devices = sum(role_of(user) == DEVICE_ROLE for user in accounts)
    answers.print(
        f"{options.data_dir}: the broker's configuration, {len(services)} service accounts, "
        f"{devices:,} devices with a secret",
        markup=False,
        soft_wrap=True,
    )


def _services(settings: Settings) -> dict[Service, HashedSecret]:
    given = {
        Service.ADMIN: settings.broker_admin_password,
        Service.INGEST: settings.broker_ingest_password,
        Service.SIMULATOR: settings.broker_simulator_password,
        Service.CLAIMS: settings.broker_claims_password,
        Service.ALERTS: settings.broker_alerts_password,
        Service.LISTENER: settings.broker_listener_password,
    }
    if missing := [service for service, password in given.items() if not password]:
        names = (f"ALATAU_BROKER_{service.removeprefix('alatau-').upper()}_PASSWORD" for service in missing)
        raise SettingsError(f"set {', '.join(names)}: the passwords of the broker's service accounts")
    return {service: hash_secret(password) for service, password in given.items() if password}


def compose_env() -> None:
    """Print the secrets that docker-compose.yml asks for, generated anew each time.

    [dim]Example:[/]
      ./alatau compose-env > .env && docker compose up
    """
    lines = [
        "# Generated by `alatau compose-env`. Keep it: the database's volume remembers its passwords.",
        *(f"{name}={generate_secret()}" for name in _PASSWORDS),
        f"ALATAU_API_KEY={generate_key()}",
    ]
    answers.print("\n".join(lines), markup=False, soft_wrap=True)
