"""The servers to use: those of the machine where they will do, provisioned ones otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stack.accounts import server_account
from stack.debian import Package, provisioned_packages
from stack.discovery import PLUGIN, Broker, Database, SearchPaths, find_brokers, find_databases
from stack.errors import SERVERS_BY_OTHER_MEANS, StackError
from stack.layout import place_cache
from stack.progress import Report, silent
from stack.provision import provision, provisioned_versions, servers_prefix
from stack.recipe import Tree
from stack.versions import as_numbers

Origin = Literal["system", "provisioned", "mixed"]


@dataclass(frozen=True, slots=True)
class Servers:
    """The programs of a database and a broker that will do, and their versions."""

    postgres_bin: Path
    mosquitto: Path
    mosquitto_pub: Path
    mosquitto_sub: Path
    mosquitto_ctrl: Path
    mosquitto_passwd: Path
    dynamic_security_plugin: Path
    postgres_version: str
    timescaledb_version: str
    mosquitto_version: str
    postgres_origin: Literal["system", "provisioned"]
    mosquitto_origin: Literal["system", "provisioned"]
    zoneinfo: Path | None
    """Time zone data to be linked into the data directory; None where PostgreSQL has its own way."""

    @property
    def origin(self) -> Origin:
        """Return where the servers come from, "mixed" if not from one place."""
        return self.postgres_origin if self.postgres_origin == self.mosquitto_origin else "mixed"


def find_servers(
    env: Mapping[str, str],
    prefix: Path | None,
    *,
    search: SearchPaths | None = None,
    data_dir: Path | None = None,
) -> Servers | None:
    """Return servers without provisioning any: the machine's own first, then those at `prefix`.

    Where `data_dir` holds a database already, only a PostgreSQL of its major version will do.
    """
    search = search or SearchPaths.of_machine(env)
    major = data_major(data_dir) if data_dir else None
    database = _system_database(search, major)
    broker = next((found for found in find_brokers(search.broker) if isinstance(found, Broker)), None)
    if database and broker:
        return _combine(database, "system", broker, "system")
    if prefix is None or (provisioned := _provisioned(prefix)) is None:
        return None
    if database:
        return _combine(database, "system", provisioned[1], "provisioned")
    if broker:
        return _combine(provisioned[0], "provisioned", broker, "system", Tree(prefix).zoneinfo)
    return _combine(provisioned[0], "provisioned", provisioned[1], "provisioned", Tree(prefix).zoneinfo)


def ensure_servers(
    env: Mapping[str, str],
    report: Report = silent,
    *,
    search: SearchPaths | None = None,
    data_dir: Path | None = None,
) -> Servers:
    """Return servers, provisioning what the machine lacks; raises StackError where that cannot be done.

    The first time this downloads some 50 MB; afterwards it takes milliseconds.
    """
    placement = place_cache(env, server_account())
    prefix = servers_prefix(placement.path)
    if servers := find_servers(env, prefix, search=search, data_dir=data_dir):
        return servers
    if placement.moved:
        report(placement.note, None)
    provision(prefix, env, report)
    servers = find_servers(env, prefix, search=search, data_dir=data_dir)
    if servers is None:
        raise StackError(f"The servers at {prefix} vanished while they were made.", SERVERS_BY_OTHER_MEANS)
    return servers


def packages_of(servers: Servers, env: Mapping[str, str]) -> list[Package]:
    """Return the packages that servers are of, as far as they were provisioned."""
    if servers.origin == "system":
        return []
    return provisioned_packages(servers_prefix(place_cache(env, server_account()).path))


def data_major(data_dir: Path) -> int | None:
    """Return the major version of the PostgreSQL that made `data_dir`, None if none did."""
    try:
        return int((data_dir / "PG_VERSION").read_text())
    except (OSError, ValueError):
        return None


def _system_database(search: SearchPaths, major: int | None) -> Database | None:
    for found in find_databases(search.postgres):
        if isinstance(found, Database) and major in (None, as_numbers(found.postgres_version)[0]):
            return found
    return None


def _provisioned(prefix: Path) -> tuple[Database, Broker] | None:
    versions = provisioned_versions(prefix)
    if versions is None:
        return None
    tree = Tree(prefix)
    plugin = next(prefix.glob(f"usr/lib/*/{PLUGIN}"), None)
    if plugin is None:
        return None
    return (
        Database(tree.postgres_bin, versions["postgres"], versions["timescaledb"]),
        Broker(tree.mosquitto, tree.clients, plugin, versions["mosquitto"]),
    )


def _combine(
    database: Database,
    postgres_origin: Literal["system", "provisioned"],
    broker: Broker,
    mosquitto_origin: Literal["system", "provisioned"],
    zoneinfo: Path | None = None,
) -> Servers:
    return Servers(
        postgres_bin=database.bin,
        mosquitto=broker.mosquitto,
        mosquitto_pub=broker.clients / "mosquitto_pub",
        mosquitto_sub=broker.clients / "mosquitto_sub",
        mosquitto_ctrl=broker.clients / "mosquitto_ctrl",
        mosquitto_passwd=broker.clients / "mosquitto_passwd",
        dynamic_security_plugin=broker.plugin,
        postgres_version=database.postgres_version,
        timescaledb_version=database.timescaledb_version,
        mosquitto_version=broker.version,
        postgres_origin=postgres_origin,
        mosquitto_origin=mosquitto_origin,
        zoneinfo=zoneinfo,
    )
