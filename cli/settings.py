"""Settings: the environment variables ``ALATAU_…``, read here and nowhere else."""

from __future__ import annotations

import functools
import os
import pathlib

import pydantic
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every setting; a command uses those that it needs. ``docs/operations.md`` lists them."""

    model_config = SettingsConfigDict(env_prefix="ALATAU_", extra="ignore")

    data_dir: pathlib.Path = pydantic.Field(
        pathlib.Path(".alatau"), description="Where `alatau up` keeps databases, secrets and logs."
    )
    database_url: str | None = pydantic.Field(
        None, description="postgresql://… of this process's role; `alatau up` then starts no database."
    )
    database_superuser_url: str | None = pydantic.Field(
        None, description="postgresql://… that may create roles and databases; only `alatau migrate` uses it."
    )
    database_owner_password: str | None = pydantic.Field(None, description="Given to the role alatau_owner.")
    database_ingest_password: str | None = pydantic.Field(
        None, description="Given to the role alatau_ingest."
    )
    database_api_password: str | None = pydantic.Field(None, description="Given to the role alatau_api.")
    database_maintenance_password: str | None = pydantic.Field(
        None, description="Given to the role alatau_maintenance."
    )
    database_alerts_password: str | None = pydantic.Field(
        None, description="Given to the role alatau_alerts."
    )
    database_reader_password: str | None = pydantic.Field(
        None, description="Given to the role alatau_reader."
    )
    mqtt_url: str | None = pydantic.Field(
        None, description="mqtt://host:port or mqtts://host:port of the broker; `alatau up` then starts none."
    )
    mqtt_ca: pathlib.Path | None = pydantic.Field(
        None, description="Certificate of the authority to trust with mqtts://, PEM; else the system's."
    )
    mqtt_public_url: str | None = pydantic.Field(
        None, description="Address of the broker that devices are told; else the same."
    )
    mqtt_username: str | None = pydantic.Field(None, description="Account of this process at the broker.")
    mqtt_password: str | None = pydantic.Field(None, description="Its password.")
    device_id: str | None = pydantic.Field(None, description="Device that `alatau publish` speaks for.")
    device_user: str | None = pydantic.Field(
        None, description="Its user name at the broker, if that is not its id."
    )
    device_secret: str | None = pydantic.Field(None, description="Its secret.")
    broker_admin_password: str | None = pydantic.Field(
        None, description="Password of alatau-admin, which registers devices at the broker."
    )
    broker_ingest_password: str | None = pydantic.Field(None, description="Password of alatau-ingest.")
    broker_claims_password: str | None = pydantic.Field(
        None, description="Password of alatau-claims, which hears devices that register themselves."
    )
    broker_alerts_password: str | None = pydantic.Field(
        None, description="Password of alatau-alerts, which tells of alerts at the broker."
    )
    broker_listener_password: str | None = pydantic.Field(
        None, description="Password of alatau-listener, for programs that hear of alerts there."
    )
    broker_simulator_password: str | None = pydantic.Field(None, description="Password of alatau-simulator.")
    topic_root: str = pydantic.Field("alatau/v1", description="First levels of every topic.")
    api_host: str = pydantic.Field("127.0.0.1", description="Address the API listens on.")
    api_proxy: str = pydantic.Field(
        "", description="Addresses of a proxy in front of the API that speaks TLS, and that it believes."
    )
    api_niceness: int = pydantic.Field(
        15,
        ge=0,
        le=19,
        description="How far the API, and its processes at a database of this machine, give way to others: 0 to 19.",
    )
    api_port: int = pydantic.Field(8000, description="Port of the API.")
    mqtt_port: int = pydantic.Field(1883, description="Port of the broker that `alatau up` starts.")
    mqtt_address: str = pydantic.Field(
        "127.0.0.1", description="Address that the broker of `alatau up` listens on for TLS."
    )
    mqtts_port: int = pydantic.Field(8883, description="Its port for TLS.")
    mqtt_certificates_port: int = pydantic.Field(
        8884, description="Its port for devices that show a certificate, and no secret."
    )
    tls_certificate: pathlib.Path | None = pydantic.Field(
        None, description="Certificate of broker and API with its chain, PEM; else `alatau up` makes one."
    )
    tls_key: pathlib.Path | None = pydantic.Field(None, description="Its private key, PEM, not encrypted.")
    database_port: int = pydantic.Field(5433, description="Port of the database that `alatau up` starts.")
    ingest_host: str = pydantic.Field("127.0.0.1", description="Address of ingest's status port.")
    ingest_port: int = pydantic.Field(8001, description="Status port of ingest: /metrics, /readyz, /healthz.")
    ingest_http_host: str = pydantic.Field(
        "127.0.0.1", description="Address on which ingest takes telemetry over HTTP."
    )
    ingest_http_port: int | None = pydantic.Field(
        None, description="Port on which it does; without one it takes none. `alatau up` has 8092."
    )
    ingest_http_proxy: str = pydantic.Field(
        "", description="Addresses of a proxy in front of that port that speaks TLS, and that it believes."
    )
    maintenance_host: str = pydantic.Field("127.0.0.1", description="Address of maintenance's status port.")
    maintenance_port: int = pydantic.Field(
        8090, description="Status port of maintenance: /metrics, /readyz, /healthz."
    )
    alerts_host: str = pydantic.Field("127.0.0.1", description="Address of the status port of alerts.")
    alerts_port: int = pydantic.Field(8091, description="Status port of alerts: /metrics, /readyz, /healthz.")
    local_urls: str = pydantic.Field(
        "", description="Written by `alatau up`: the addresses that are its own, and not external servers'."
    )
    api_url: str | None = pydantic.Field(
        None, description="Address of the API that `alatau query` and `alatau export` ask."
    )
    api_ca: pathlib.Path | None = pydantic.Field(
        None, description="Certificate of the authority to trust with its https://, PEM; else the system's."
    )
    api_key: str | None = pydantic.Field(
        None, description="API key that they send, and that `alatau migrate` stores, if given."
    )
    export_dir: pathlib.Path | None = pydantic.Field(
        None, description="Where the API keeps exported files; else in the data directory."
    )
    map_tiles: pathlib.Path | None = pydantic.Field(
        None, description="Base map of the dashboard, a PMTiles file; else a drawn one."
    )
    docs_url: str = pydantic.Field(
        "docs/devices/contract.md",
        description="Address of the contract's page, at which refused devices are pointed.",
    )
    public_url: str | None = pydantic.Field(None, description="Where browsers find the API.")
    oidc_issuer: str | None = pydantic.Field(
        None, description="OpenID Connect issuer at which people may sign in too."
    )
    oidc_client_id: str | None = pydantic.Field(None, description="What the API is called there.")
    oidc_client_secret: str | None = pydantic.Field(None, description="Its secret there.")
    oidc_roles: str | None = pydantic.Field(
        None, description="Which of its claims gives which role, as in `groups: alatau-admins=admin`."
    )

    webhook_networks: str = pydantic.Field(
        "", description="Private networks that alerts may be sent to by webhook, with commas between."
    )
    smtp_url: str | None = pydantic.Field(
        None, description="smtps://user@host or smtp://user@host of the mail server for alerts."
    )
    smtp_password: str | None = pydantic.Field(None, description="Its user's password.")
    smtp_from: str | None = pydantic.Field(None, description="Address that alerts are mailed from.")
    smtp_ca: pathlib.Path | None = pydantic.Field(
        None, description="Certificate of the authority to trust for it, PEM; else the system's."
    )

    @property
    def root(self) -> pathlib.Path:
        """The data directory, absolute."""
        return self.data_dir.expanduser().absolute()

    @property
    def exports(self) -> pathlib.Path:
        """The directory of exported files, absolute."""
        return self.root / "exports" if self.export_dir is None else self.export_dir.expanduser().absolute()

    @property
    def base_map(self) -> pathlib.Path | None:
        """The file of the base map, absolute."""
        return None if self.map_tiles is None else self.map_tiles.expanduser().absolute()


class SettingsError(Exception):
    """A setting is missing or wrong; the text ends with what to do."""


def load_settings() -> Settings:
    """Read the environment. Raises SettingsError that names the variable."""
    try:
        return Settings()  # pydantic-settings fills the fields from the environment
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = f"ALATAU_{'_'.join(map(str, first['loc'])).upper()}"
        raise SettingsError(f"{name}: {first['msg']}; it is {os.environ.get(name)!r}") from None


@functools.cache
def setting_descriptions() -> dict[str, str]:
    """Return what each environment variable is for."""
    return {
        f"ALATAU_{name.upper()}": field.description or "" for name, field in Settings.model_fields.items()
    }
