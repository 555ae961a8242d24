"""A city on this machine: the servers, our processes, the catalogue and the simulated fleet, as one."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import pathlib
import sys
from collections.abc import Awaitable, Callable
from signal import SIGTERM

from api.passwords import Hashing, generate_password
from broker.accounts import Service
from cli.account_restarts import AccountRestarts
from cli.connections import database_errors, database_url, external_broker, external_database
from cli.console import Steps
from cli.correct import user_name
from cli.ingest_http import PURPOSE, http_port
from cli.local import LocalStack, Ports
from cli.probes import answers_ok, simulator_state
from cli.reach import Reach
from cli.revocations import Revocations
from cli.schema import prepare_schema
from cli.secrets import credential_of
from cli.settings import Settings
from cli.supervisor import Server, Supervisor, Worker
from sensors.catalogue import CityFile, builtin_file, read_city_file
from sensors.errors import CatalogueError
from sensors.fleet import plan_fleet
from sensors.kinds import DeviceSpec
from sensors.topics import Topics
from stack.cluster import running_postmaster
from stack.ports import require_free
from stack.process import Program
from stack.progress import Report
from stack.servers import Servers
from storage.api_keys import Role, store_key
from storage.audit import Event, record
from storage.catalogue import apply_city_file, load_catalogue
from storage.database import ALERTS_ROLE, API_ROLE, INGEST_ROLE, MAINTENANCE_ROLE, OWNER_ROLE, connect
from storage.devices import (
    count_simulated_behind,
    oldest_simulated_latest,
    register_devices,
)
from storage.users import NewUser, add_first_user, has_users

SAMPLE_DEVICE = "sample-air-1"
FIRST_ADMIN = "admin"
_BROKER = "broker"
_HISTORY = dt.timedelta(hours=24)
# A gap as long as this is filled before the city is called ready; a shorter one behind its back.
_WORTH_WAITING = dt.timedelta(hours=20)
_STORED_WITHIN_SECONDS = 120


@dataclasses.dataclass(frozen=True, slots=True)
class CityOptions:
    """Which city, and how many devices of it are simulated; 0 leaves it empty."""

    city_file: pathlib.Path | None
    simulated: int


class City:
    """Starts everything in order, and stops it in the reverse. Servers named in the environment are used as
    they are."""

    def __init__(
        self, settings: Settings, options: CityOptions, servers: Servers, say: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self.servers = servers
        self.title = ""
        self._options = options
        self._say = say
        self._supervisor = Supervisor(say)
        self._database = external_database(settings)
        self._broker = external_broker(settings)
        self.reach = Reach(settings, self._broker)
        self.local = LocalStack(
            servers,
            settings.root,
            Ports(settings.database_port, settings.mqtt_port),
            topics=Topics(settings.topic_root),
            secure=self.reach.secure,
        )
        self._watches: list[asyncio.Task[None]] = []

    @property
    def notes(self) -> list[str]:
        """What the user should know of where things are."""
        return self.local.notes

    @property
    def mqtt_url(self) -> str:
        """Where the broker is."""
        return self._broker or self.local.mqtt_url

    @property
    def _http_port(self) -> int:
        return http_port(self.settings)

    def _database_url(self, role: str) -> str:
        return database_url(self.settings, role) if self._database else self.local.database_url(role)

    async def start(self, steps: Steps) -> None:
        """Start the city; when this returns, readings flow. Raises StackError, StorageError, CatalogueError."""
        self._require_ports()
        with steps.step("database"):
            await self._start_database()
        with steps.step("catalogue and devices") as report:
            missing = await self._apply_catalogue(report)
        with steps.step("broker"):
            if self._broker is None:
                broker = Server(
                    _BROKER, self.local.start_broker, self.local.mosquitto.wait, self.local.mosquitto.stop
                )
                await self._supervisor.start(broker)
        self._begin_watches()
        with steps.step("ingest"):
            probe = answers_ok(self.settings.ingest_port, host=self.settings.ingest_host)
            await self._supervisor.start(
                self._worker("ingest", self._ingest_environment(), probe, stop_within=30)
            )
        with steps.step("API"):
            probe = answers_ok(
                self.settings.api_port, host=self.settings.api_host, trust=self.reach.only_the_api
            )
            await self._supervisor.start(self._worker("api", self._api_environment(), probe, stop_within=10))
        with steps.step("maintenance"):
            probe = answers_ok(self.settings.maintenance_port, host=self.settings.maintenance_host)
            environment = {"ALATAU_DATABASE_URL": self._database_url(MAINTENANCE_ROLE)}
            await self._supervisor.start(self._worker("maintain", environment, probe, stop_within=10))
        with steps.step("alerts"):
            probe = answers_ok(self.settings.alerts_port, host=self.settings.alerts_host)
            await self._supervisor.start(
                self._worker("alert", self._alerts_environment(), probe, stop_within=10)
            )
        if self._options.simulated:
            with steps.step("simulated city, last 24 hours") as report:
                await self._supervisor.start(self._simulator(missing, report))
                if missing > _WORTH_WAITING:
                    report("storing", None)
                    await self._until_stored()

    def _begin_watches(self) -> None:
        watches = {"certificate": self.reach.renew(self.local.renew_certificate, self._say)}
        if self._broker is None:
            revocations = Revocations(
                lambda: connect(self._database_url(OWNER_ROLE), application="alatau-up"),
                self.local.admin,
                self.local.invalid,
                self.local.renew_revocations,
                self._say,
            )
            watches["revocations"] = revocations.run()
            watches["accounts"] = AccountRestarts(
                lambda: connect(self._database_url(OWNER_ROLE), application="alatau-up"),
                self.local.admin,
                lambda: self._supervisor.restart(_BROKER),
                self._say,
            ).run()
        self._watches = [asyncio.create_task(watch, name=f"up.{name}") for name, watch in watches.items()]

    def _require_ports(self) -> None:
        settings = self.settings
        require_free(settings.api_port, "the API (ALATAU_API_PORT)", settings.api_host)
        require_free(settings.ingest_port, "ingest's status (ALATAU_INGEST_PORT)")
        require_free(self._http_port, PURPOSE, settings.ingest_http_host)
        require_free(settings.maintenance_port, "maintenance's status (ALATAU_MAINTENANCE_PORT)")
        require_free(settings.alerts_port, "the status of alerts (ALATAU_ALERTS_PORT)")
        if self._broker is None:
            require_free(settings.mqtt_port, "the broker (ALATAU_MQTT_PORT)")
            require_free(settings.mqtts_port, "the broker's TLS (ALATAU_MQTTS_PORT)", settings.mqtt_address)
            certificates = "the broker's certificates (ALATAU_MQTT_CERTIFICATES_PORT)"
            require_free(settings.mqtt_certificates_port, certificates, settings.mqtt_address)
        # A database whose parent was killed is still writing its data out; its successor waits for it.
        if self._database is None and running_postmaster(self.local.postgres.data_dir) is None:
            require_free(settings.database_port, "the database (ALATAU_DATABASE_PORT)")

    async def stop(self) -> None:
        """Stop everything, the devices first, the database last."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await self._supervisor.stop()

    async def _start_database(self) -> None:
        if self._database is not None:
            url = self._database_url(OWNER_ROLE)
            with database_errors(url):
                await prepare_schema(url)
            return
        postgres = self.local.postgres
        await self._supervisor.start(
            Server("database", self.local.start_database, postgres.wait, postgres.stop)
        )

    async def _apply_catalogue(self, report: Report) -> dt.timedelta:
        """Apply the city file and register the fleet; return the gap that simulated history has to fill."""
        name, file = self._city_file()
        secrets = self.local.secrets
        connection = await connect(self._database_url(OWNER_ROLE), application="alatau-up")
        try:
            await apply_city_file(connection, file, name)
            await store_key(connection, secrets.api_key, "generated at the first start")
            stored = await load_catalogue(connection)
            if stored is None:
                raise CatalogueError(f"{name}: applied, but no catalogue is in force")
            catalogue = stored[1]
            self.title = catalogue.city.title
            sample = DeviceSpec(SAMPLE_DEVICE, "air_quality", catalogue.districts[0].name)
            credential = credential_of(secrets.sample_device_secret)
            await register_devices(connection, [sample], catalogue, {SAMPLE_DEVICE: credential})
            report(f"{self._options.simulated} simulated devices", None)
            await register_devices(connection, plan_fleet(catalogue, self._options.simulated), catalogue)
            oldest = await oldest_simulated_latest(connection)
        finally:
            await connection.close()
        now = dt.datetime.now(dt.UTC)
        # A clock that was set back leaves readings of the future, and no gap.
        return max(min(now - oldest, _HISTORY), dt.timedelta()) if oldest else _HISTORY

    async def add_first_admin(self) -> str | None:
        """Add somebody who can sign in, where there is nobody yet; return the password, which is kept nowhere."""
        connection = await connect(self._database_url(OWNER_ROLE), application="alatau-up")
        try:
            if await has_users(connection):
                return None
            password, who = generate_password(), user_name()
            admin = NewUser(FIRST_ADMIN, Role.ADMIN, password_hash=Hashing().hash(password), created_by=who)
            async with connection.transaction():
                if await add_first_user(connection, admin) is None:
                    return None
                detail = {"role": admin.role.value, "why": "first start"}
                await record(connection, [Event(who, "add user", subject=admin.name, detail=detail)])
            return password
        finally:
            await connection.close()

    async def _until_stored(self) -> None:
        """Wait until the history that the broker has taken is in the database, too: no answer is empty then."""
        connection = await connect(self._database_url(OWNER_ROLE), application="alatau-up")
        try:
            async with asyncio.timeout(_STORED_WITHIN_SECONDS):
                while await count_simulated_behind(connection):  # noqa: ASYNC110 - the database tells nobody
                    await asyncio.sleep(0.2)
        except TimeoutError:
            self._say("the last hours are still being stored; see the logs of ingest")
        finally:
            await connection.close()

    def _city_file(self) -> tuple[str, CityFile]:
        path = self._options.city_file
        return ("alatau.toml", builtin_file("alatau")) if path is None else (str(path), read_city_file(path))

    # -- our processes ----------------------------------------------------------------------------

    def _worker(
        self,
        name: str,
        environment: dict[str, str],
        probe: Callable[[], Awaitable[bool]],
        *arguments: str,
        ready_within: float = 60,
        stop_within: float,
    ) -> Worker:
        program = Program(
            name,
            [sys.executable, "-P", "-m", "cli", name if name != "simulator" else "simulate", *arguments],
            self.settings.root / "logs" / f"{name}.log",
            SIGTERM,
            env={"ALATAU_DATA_DIR": str(self.settings.root), **environment},
        )
        return Worker(program, probe, ready_within=ready_within, stop_within=stop_within)

    def _account(self, service: Service) -> dict[str, str]:
        if self._broker is not None:
            return {}  # the environment names the account along with the broker
        return {
            "ALATAU_MQTT_USERNAME": service.value,
            "ALATAU_MQTT_PASSWORD": self.local.secrets.services[service],
        }

    def _ingest_environment(self) -> dict[str, str]:
        return {
            "ALATAU_DATABASE_URL": self._database_url(INGEST_ROLE),
            "ALATAU_MQTT_URL": self.mqtt_url,
            "ALATAU_INGEST_HTTP_PORT": str(self._http_port),
            **self.reach.ingest_environment,
            **self._account(Service.INGEST),
        }

    def _api_environment(self) -> dict[str, str]:
        admin = (
            {}
            if self._broker
            else {
                "ALATAU_BROKER_ADMIN_PASSWORD": self.local.secrets.services[Service.ADMIN],
                "ALATAU_BROKER_CLAIMS_PASSWORD": self.local.secrets.services[Service.CLAIMS],
            }
        )
        return {
            "ALATAU_DATABASE_URL": self._database_url(API_ROLE),
            "ALATAU_MQTT_URL": self.mqtt_url,
            **self.reach.api_environment,
            **admin,
        }

    def _alerts_environment(self) -> dict[str, str]:
        service = Service.ALERTS
        account = (
            {} if self._broker else {"ALATAU_BROKER_ALERTS_PASSWORD": self.local.secrets.services[service]}
        )
        return {
            "ALATAU_DATABASE_URL": self._database_url(ALERTS_ROLE),
            "ALATAU_MQTT_URL": self.mqtt_url,
            **account,
        }

    def _simulator(self, missing: dt.timedelta, report: Report) -> Worker:
        log = self.settings.root / "logs" / "simulator.log"
        since = log.stat().st_size if log.exists() else 0
        waits = missing > _WORTH_WAITING

        async def probe() -> bool:
            state = simulator_state(log, since)
            report(f"{state.published:,} messages", state.fraction)
            return state.phase == "live" or (not waits and state.published > 0)

        arguments = ["--json", "--devices", str(self._options.simulated)]
        arguments += ["--history", f"PT{missing.total_seconds():.0f}S"]
        if self._options.city_file:
            arguments += ["--city", str(self._options.city_file.absolute())]
        environment = {"ALATAU_MQTT_URL": self.mqtt_url, **self._account(Service.SIMULATOR)}
        return self._worker("simulator", environment, probe, *arguments, ready_within=600, stop_within=15)

    def _local_urls(self) -> list[str]:
        database = [] if self._database else [self._database_url(API_ROLE)]
        return database if self._broker else [*database, self.mqtt_url, self.reach.mqtt_url]

    # -- for people -------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Return what a person or a program needs to use the city."""
        secrets = self.local.secrets
        authorities = {"ALATAU_MQTT_CA": self.reach.mqtt_ca, "ALATAU_API_CA": self.reach.api_ca}
        return {
            "ALATAU_API_URL": self.reach.api_url,
            "ALATAU_API_KEY": secrets.api_key,
            "ALATAU_MQTT_URL": self.reach.mqtt_url,
            "ALATAU_DEVICE_ID": SAMPLE_DEVICE,
            "ALATAU_DEVICE_SECRET": secrets.sample_device_secret,
            "ALATAU_DATABASE_URL": self._database_url(API_ROLE),
            "ALATAU_LOCAL_URLS": " ".join(self._local_urls()),
            # So that a command in a shell that has sourced this finds the same city.
            "ALATAU_DATA_DIR": str(self.settings.root),
            "ALATAU_API_PORT": str(self.settings.api_port),
            "ALATAU_INGEST_PORT": str(self.settings.ingest_port),
            "ALATAU_INGEST_HTTP_PORT": str(self._http_port),
            "ALATAU_MAINTENANCE_PORT": str(self.settings.maintenance_port),
            "ALATAU_ALERTS_PORT": str(self.settings.alerts_port),
            "ALATAU_MQTT_PORT": str(self.settings.mqtt_port),
            "ALATAU_MQTTS_PORT": str(self.settings.mqtts_port),
            "ALATAU_MQTT_CERTIFICATES_PORT": str(self.settings.mqtt_certificates_port),
            "ALATAU_DATABASE_PORT": str(self.settings.database_port),
            **{name: str(path) for name, path in authorities.items() if path is not None},
        }
