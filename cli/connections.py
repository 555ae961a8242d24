"""Which database and which accounts a command uses: the environment's, or those of the local stack."""

from __future__ import annotations

import contextlib
import pathlib
import shlex
import ssl
import urllib.parse
from collections.abc import AsyncIterator, Iterator, Mapping

import asyncpg

from broker.accounts import Service
from broker.admin import BrokerAdmin
from cli.secrets import StackSecrets, load_secrets
from cli.settings import Settings, SettingsError
from storage.database import (
    ALERTS_ROLE,
    API_ROLE,
    DATABASE,
    INGEST_ROLE,
    MAINTENANCE_ROLE,
    OWNER_ROLE,
    READER_ROLE,
    connect,
    with_user,
)
from storage.errors import classify


def stack_environment(settings: Settings) -> dict[str, str]:
    """Return what ``up`` wrote for people to source, or nothing where it hasn't run yet."""
    try:
        words = shlex.split((settings.root / "env").read_text(), comments=True)
    except FileNotFoundError:
        return {}
    return {name: value for name, equals, value in (word.partition("=") for word in words) if equals}


def external_database(settings: Settings) -> str | None:
    """Return the database that the environment names, unless that is a local one as ``up`` wrote it."""
    return None if settings.database_url in _local_urls(settings) else settings.database_url


def external_broker(settings: Settings) -> str | None:
    """Return the broker that the environment names, unless that is a local one as ``up`` wrote it."""
    return None if settings.mqtt_url in _local_urls(settings) else settings.mqtt_url


def _local_urls(settings: Settings) -> set[str | None]:
    # From the file, and from a shell that has sourced one which may be gone since.
    own = stack_environment(settings)
    return {own.get("ALATAU_DATABASE_URL"), own.get("ALATAU_MQTT_URL"), *settings.local_urls.split()}


def database_url(settings: Settings, role: str) -> str:
    """Return the database's address for one of our roles. Raises SettingsError when there is none.

    An address that names no user serves every role whose password is set.
    """
    if external := external_database(settings):
        password = _given_passwords(settings)[role]
        names_user = urllib.parse.urlsplit(external).username is not None
        return with_user(external, role, password) if password and not names_user else external
    if secrets := stack_secrets(settings):
        if role not in secrets.roles:
            raise SettingsError(f"the local database has no role {role} yet: run `./alatau up` once")
        local = f"postgresql://127.0.0.1:{settings.database_port}/{DATABASE}"
        return with_user(local, role, secrets.roles[role])
    raise SettingsError(
        "no database: run `./alatau up`, or set ALATAU_DATABASE_URL=postgresql://user:password@host/database"
    )


def stack_secrets(settings: Settings) -> StackSecrets | None:
    """Return the secrets of the local stack, if there is one."""
    return load_secrets(settings.root / "secrets.json")


def broker_url(settings: Settings) -> str:
    """Return the broker's address."""
    return settings.mqtt_url or f"mqtt://127.0.0.1:{settings.mqtt_port}"


def broker_ca(settings: Settings, url: str | None = None) -> pathlib.Path | None:
    """Return the file of the authority to trust, None for the system's or without TLS. Raises SettingsError.

    Of the broker that is connected to, or of another address of it.
    """
    if settings.mqtt_ca is None or urllib.parse.urlsplit(url or broker_url(settings)).scheme != "mqtts":
        return None
    path = settings.mqtt_ca.expanduser().absolute()
    trusting(path, "ALATAU_MQTT_CA")
    return path


def trusting(authority: pathlib.Path, setting: str) -> ssl.SSLContext:
    """Return how to connect with trust in an authority alone. Raises SettingsError that names the setting."""
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        why = error.strerror or str(error)
        raise SettingsError(f"{setting}: {authority}: {why}; give a file of PEM certificates") from error


def broker_account(settings: Settings, service: Service) -> tuple[str, str]:
    """Return user name and password of a service at the broker. Raises SettingsError when there are none."""
    if settings.mqtt_password:
        return settings.mqtt_username or service.value, settings.mqtt_password
    if secrets := stack_secrets(settings):
        return service.value, secrets.services[service]
    raise SettingsError(
        f"no account at the broker: run `./alatau up`, or set ALATAU_MQTT_USERNAME={service.value} "
        "and ALATAU_MQTT_PASSWORD"
    )


def broker_admin(settings: Settings) -> BrokerAdmin | None:
    """Return who may register devices at the broker, or None when nobody may."""
    secrets = stack_secrets(settings)
    password = settings.broker_admin_password or (secrets.services[Service.ADMIN] if secrets else None)
    if password is None:
        return None
    ca = broker_ca(settings)
    return BrokerAdmin(broker_url(settings), Service.ADMIN, password, ca=None if ca is None else str(ca))


def claims_password(settings: Settings) -> str | None:
    """Return the password of who hears claims at the broker, or None where nobody does."""
    secrets = stack_secrets(settings)
    return settings.broker_claims_password or (secrets.services.get(Service.CLAIMS) if secrets else None)


@contextlib.contextmanager
def database_errors(url: str) -> Iterator[None]:
    """Let the driver's errors leave the block as StorageError that says which database it was."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        if (ours := classify(error)) is None:
            raise
        place = urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
        raise type(ours)(f"the database at {place}: {ours}") from error


@contextlib.asynccontextmanager
async def owner_connection(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection of the owner's role for one command. Raises StorageError, SettingsError."""
    url = database_url(settings, OWNER_ROLE)
    with database_errors(url):
        connection = await connect(url, application="alatau-cli")
        try:
            yield connection
        finally:
            await connection.close()


def _given_passwords(settings: Settings) -> dict[str, str | None]:
    return {
        OWNER_ROLE: settings.database_owner_password,
        INGEST_ROLE: settings.database_ingest_password,
        API_ROLE: settings.database_api_password,
        MAINTENANCE_ROLE: settings.database_maintenance_password,
        ALERTS_ROLE: settings.database_alerts_password,
        READER_ROLE: settings.database_reader_password,
    }


def role_passwords(settings: Settings) -> Mapping[str, str]:
    """Return the passwords that ``migrate`` gives to the roles. Raises SettingsError that names what lacks."""
    given = _given_passwords(settings)
    if missing := [
        f"ALATAU_DATABASE_{r.removeprefix('alatau_').upper()}_PASSWORD" for r, p in given.items() if not p
    ]:
        raise SettingsError(f"set {', '.join(missing)}, which `alatau migrate` gives to the database's roles")
    return {role: password for role, password in given.items() if password}
