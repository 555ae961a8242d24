"""The local stack: a database and a broker of one data directory, prepared for us."""

from __future__ import annotations

import dataclasses
import datetime as dt
import pathlib
from collections.abc import Collection, Mapping

from broker.accounts import Service
from broker.admin import BrokerAdmin
from broker.config import BrokerOptions, SecureListener, write_broker_files, write_certificate, write_trust
from broker.secrets import hash_secret
from cli.certificates import ServerCertificate
from cli.schema import prepare_schema
from cli.secrets import StackSecrets, ensure_secrets
from cli.settings import SettingsError
from cli.speeches import SPEECHES
from sensors.catalogue import CityFile
from sensors.topics import Topics
from stack.accounts import server_account
from stack.layout import place_data
from stack.mosquitto import MosquittoServer
from stack.ownership import claim
from stack.pki import Authority
from stack.postgres import PostgresServer
from stack.servers import Servers
from storage.accounts import load_all_credentials
from storage.api_keys import store_key
from storage.catalogue import apply_city_file
from storage.certificates import load_invalid
from storage.database import (
    API_ROLE,
    DATABASE,
    INGEST_ROLE,
    OWNER_ROLE,
    connect,
    prepare_database,
    with_user,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Ports:
    """The loopback ports of the servers."""

    database: int
    mqtt: int


@dataclasses.dataclass(frozen=True, slots=True)
class Secure:
    """Where the broker speaks TLS, and with which certificate."""

    listener: SecureListener
    certificate: ServerCertificate
    authority: Authority  # of devices


class LocalStack:
    """TimescaleDB and Mosquitto on one data directory. Start the database first: the broker's accounts come
    from it."""

    def __init__(
        self,
        servers: Servers,
        data_dir: pathlib.Path,
        ports: Ports,
        *,
        topics: Topics | None = None,
        secure: Secure | None = None,
        database_overrides: Mapping[str, str] | None = None,
    ) -> None:
        self.servers = servers
        self.topics = topics or Topics()
        self.ports = ports
        self.secrets: StackSecrets = ensure_secrets(data_dir / "secrets.json")
        account = server_account()
        database_place = place_data(data_dir / "database", account)
        broker_place = place_data(data_dir / "broker", account)
        self.notes = [place.note for place in (database_place, broker_place) if place.note]
        logs = data_dir / "logs"
        logs.mkdir(exist_ok=True)
        self.postgres = PostgresServer(
            servers,
            database_place.path,
            ports.database,
            log=logs / "database.log",
            overrides=database_overrides,
        )
        self._broker_options = BrokerOptions(
            port=ports.mqtt,
            data_dir=broker_place.path,
            plugin=servers.dynamic_security_plugin,
            secure=secure.listener if secure else None,
        )
        self._secure = secure
        # Certificates of devices that the broker was started with as valid no more, by serial number.
        self.invalid: dict[str, str] = {}
        self.mosquitto = MosquittoServer(
            servers, self._broker_options.config_file, ports.mqtt, logs / "broker.log"
        )
        self._broker_account = server_account(broker_place.path)

    @property
    def mqtt_url(self) -> str:
        """Where the broker listens."""
        return f"mqtt://127.0.0.1:{self.ports.mqtt}"

    def database_url(self, role: str, database: str = DATABASE) -> str:
        """Return the URL of a database for one of our roles."""
        base = f"postgresql://127.0.0.1:{self.ports.database}/{database}"
        return with_user(base, role, self.secrets.roles[role])

    @property
    def owner_url(self) -> str:
        """For migrations and administration."""
        return self.database_url(OWNER_ROLE)

    @property
    def ingest_url(self) -> str:
        """For the ingest service."""
        return self.database_url(INGEST_ROLE)

    @property
    def api_url(self) -> str:
        """For the API, read only."""
        return self.database_url(API_ROLE)

    @property
    def admin(self) -> BrokerAdmin:
        """Changes the broker's accounts while it runs."""
        return BrokerAdmin(self.mqtt_url, Service.ADMIN, self.secrets.services[Service.ADMIN])

    async def start_database(self) -> None:
        """Start TimescaleDB and bring our database to the newest revision."""
        await self.postgres.start()
        await self.create_database(DATABASE)

    async def create_database(self, name: str) -> None:
        """Create a database of ours beside others, or bring it to the newest revision."""
        await prepare_database(self.postgres.superuser_url, name, self.secrets.roles)
        await prepare_schema(self.database_url(OWNER_ROLE, name))

    async def apply(self, file: CityFile, name: str, database: str = DATABASE) -> None:
        """Apply a city file, and store the generated API key."""
        connection = await connect(self.database_url(OWNER_ROLE, database), application="alatau-up")
        try:
            await apply_city_file(connection, file, name)
            await store_key(connection, self.secrets.api_key, "generated at the first start")
        finally:
            await connection.close()

    async def start_broker(self) -> None:
        """Start Mosquitto with the accounts that the device table says."""
        connection = await connect(self.owner_url, application="alatau-up")
        try:
            accounts = await load_all_credentials(connection)
            invalid = await load_invalid(connection)
        finally:
            await connection.close()
        claim(self._broker_options.data_dir, self._broker_account)
        services = {service: hash_secret(self.secrets.services[service]) for service in Service}
        write_broker_files(self._broker_options, self.topics, SPEECHES, services, accounts.items())
        self._write_certificate_if_good()
        self._write_trust(invalid)
        self.invalid = invalid
        await self.mosquitto.start()

    def renew_revocations(self, serials: Collection[str]) -> None:
        """Have the running broker refuse certificates of devices with these serial numbers, hex, and no others."""
        self._write_trust(serials)
        self.mosquitto.reload()

    def _write_trust(self, serials: Collection[str]) -> None:
        if self._secure is not None:
            authority, now = self._secure.authority, dt.datetime.now(dt.UTC)
            write_trust(self._broker_options, authority.certificate, authority.revocations(serials, now))

    def renew_certificate(self) -> None:
        """Have the running broker take up its certificate as it is now; connections stay. Raises SettingsError."""
        self._write_certificate()
        self.mosquitto.reload()

    def _write_certificate(self) -> None:
        # A copy, because the broker may run as another account than we.
        if self._secure is not None:
            write_certificate(self._broker_options, self._secure.certificate.read(dt.datetime.now(dt.UTC)))

    def _write_certificate_if_good(self) -> None:
        try:
            self._write_certificate()
        except SettingsError:
            # A new one that is of no use keeps no broker down that has had one.
            if not self._broker_options.server_file.exists():
                raise

    async def stop(self) -> None:
        """Stop the broker, then the database."""
        try:
            await self.mosquitto.stop()
        finally:
            await self.postgres.stop()
