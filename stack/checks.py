"""What `alatau doctor` looks at: each check is data, the command line prints it."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stack.accounts import server_account
from stack.apt import Apt
from stack.browser import find_browser
from stack.commands import output
from stack.debian import RELEASE, mirrors
from stack.discovery import Rejected, SearchPaths, find_brokers, find_databases
from stack.errors import SERVERS_BY_OTHER_MEANS, StackError
from stack.layout import Placement, place_cache, place_data
from stack.ports import is_free, who_listens
from stack.postgres_settings import GIGABYTE, machine_memory
from stack.progress import silent
from stack.provision import servers_prefix
from stack.recipe import DISK_NEEDED
from stack.servers import Servers, find_servers
from stack.timezones import SYSTEM_ZONEINFO, knows_almaty_2024, python_knows_almaty_2024

State = Literal["ok", "warning", "problem"]

MINIMUM_PYTHON = (3, 11)
ENOUGH_MEMORY = 2 * GIGABYTE


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found, and what to do unless it is ok."""

    name: str
    state: State
    found: str
    remedy: str = ""


def run_checks(env: Mapping[str, str], data_dir: Path, ports: Mapping[str, int] | None = None) -> list[Check]:
    """Look at everything the local servers need; `ports` are those they would use, by purpose."""
    return list(_checks(env, data_dir, ports or {}))


def _checks(env: Mapping[str, str], data_dir: Path, ports: Mapping[str, int]) -> Iterator[Check]:
    yield _python()
    yield _memory()
    try:
        account = server_account(data_dir)
        cache, data = place_cache(env, account), place_data(data_dir, account)
    except StackError as error:
        yield Check("account", "problem", error.message, error.remedy)
        return
    yield Check("account", "ok", f"servers run as {account.name}" if account else "servers run as you")
    yield from _placements(cache, data)
    prefix = servers_prefix(cache.path)
    servers = find_servers(env, prefix, data_dir=data.path)
    yield from _servers(servers, SearchPaths.of_machine(env))
    yield _disk("disk for the data", data.path, GIGABYTE)
    if servers is None:
        yield _disk("disk for the servers", cache.path, DISK_NEEDED)
        yield _mirror(env)
    yield from _time_zones(servers)
    yield _guard()
    yield _browser(env)
    for purpose, port in ports.items():
        yield _port(purpose, port)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= MINIMUM_PYTHON:
        return Check("python", "ok", version)
    return Check("python", "problem", version, "Install Python 3.11 or later.")


def _memory() -> Check:
    memory = machine_memory()
    found = f"{memory / GIGABYTE:.1f} GiB"
    if memory >= ENOUGH_MEMORY:
        return Check("memory", "ok", found)
    return Check("memory", "warning", found, "Two GiB or more let the database keep its live data in memory.")


def _placements(*placements: Placement) -> Iterator[Check]:
    for placement in placements:
        if placement.moved:
            remedy = "Nothing needs to be done; open the directory to other users to have it used."
            yield Check("directory", "warning", placement.note, remedy)


def _servers(servers: Servers | None, search: SearchPaths) -> Iterator[Check]:
    for found in (*find_databases(search.postgres), *find_brokers(search.broker)):
        if isinstance(found, Rejected):
            yield Check("installed server", "ok", f"{found.path} is not used: {found.reason}")
    if servers is None:
        remedy = "`./alatau up` provisions them."
        yield Check("servers", "warning", "TimescaleDB and Mosquitto are not here yet", remedy)
        return
    database = f"PostgreSQL {servers.postgres_version}, TimescaleDB {servers.timescaledb_version}"
    yield Check("database", "ok", f"{database} ({servers.postgres_origin}, {servers.postgres_bin})")
    broker = f"Mosquitto {servers.mosquitto_version}"
    yield Check("broker", "ok", f"{broker} ({servers.mosquitto_origin}, {servers.mosquitto})")


def _disk(name: str, directory: Path, needed: int) -> Check:
    existing = next(part for part in (directory, *directory.parents) if part.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / GIGABYTE:.1f} GiB free at {existing}"
    if free >= needed:
        return Check(name, "ok", found)
    remedy = "Free some space, or choose a directory on another disk."
    return Check(name, "problem", found, f"{remedy} {needed / GIGABYTE:.1f} GiB are needed.")


def _mirror(env: Mapping[str, str]) -> Check:
    name = "package mirror"
    missing = [program for program in ("apt-get", "dpkg-deb") if shutil.which(program) is None]
    if missing:
        return Check(name, "problem", f"{' and '.join(missing)} not found", SERVERS_BY_OTHER_MEANS)
    architecture = (output(["dpkg", "--print-architecture"]) or "").strip()
    with tempfile.TemporaryDirectory(prefix="alatau-doctor-") as work:
        apt = Apt(Path(work), architecture)
        apt.prepare(())
        candidates = mirrors(apt, env)
        failure = StackError("This machine's apt has no package mirror.", SERVERS_BY_OTHER_MEANS)
        for mirror in candidates:
            try:
                apt.use(mirror, RELEASE, silent)
            except StackError as error:
                failure = error
            else:
                return Check(name, "ok", f"offers Debian {RELEASE}")
    return Check(name, "problem", failure.message, failure.remedy)


def _time_zones(servers: Servers | None) -> Iterator[Check]:
    remedy = "Install or upgrade the tzdata package (2024a or later)."
    known, unknown = "has Almaty's change of 2024-03-01", "lacks Almaty's change of 2024-03-01"
    python = python_knows_almaty_2024()
    yield Check(
        "time zones of Python",
        "ok" if python else "problem",
        known if python else unknown,
        "" if python else remedy,
    )
    if servers is None:
        return
    database = knows_almaty_2024(servers.zoneinfo or SYSTEM_ZONEINFO)
    yield Check(
        "time zones of PostgreSQL",
        "ok" if database else "warning",
        known if database else unknown,
        "" if database else remedy,
    )


def _guard() -> Check:
    if shutil.which("setpriv"):
        return Check("clean-up", "ok", "servers end with the process that started them")
    return Check(
        "clean-up",
        "warning",
        "setpriv not found: killing `up` would leave its servers",
        "Install util-linux.",
    )


def _browser(env: Mapping[str, str]) -> Check:
    browser = find_browser(env)
    if browser is None:
        return Check("browser for the tests", "ok", "none is here; `./alatau test` provisions Chromium")
    return Check(
        "browser for the tests", "ok", f"Chromium {browser.version} ({browser.origin}, {browser.program})"
    )


def _port(purpose: str, port: int) -> Check:
    name = f"port {port} ({purpose})"
    if is_free(port):
        return Check(name, "ok", "free")
    remedy = "Stop what listens there, or choose another port."
    return Check(name, "problem", f"taken by {who_listens(port) or 'another process'}", remedy)
