"""The data directory of a PostgreSQL: made whole or not at all, configured, and who runs on it."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from stack.accounts import Account
from stack.commands import output, run
from stack.errors import StackError
from stack.layout import make_directory
from stack.ownership import MARKER, claim, is_ours, lend, mark, remove
from stack.postgres_settings import machine_memory, render, settings
from stack.servers import Servers, data_major
from stack.timezones import DATA_DIR_LINK
from stack.versions import as_numbers

SUPERUSER = "postgres"
PASSWORD_FILE = "alatau_superuser_password"  # noqa: S105 - the name of the file
CONFIGURATION = "alatau.conf"

_INCLUDE = f"include_if_exists = '{CONFIGURATION}'"


def initialize(servers: Servers, data_dir: Path, account: Account | None) -> None:
    """Make `data_dir` by initdb, unless it is there; raises StackError if that fails or it is not usable.

    It is made beside its place and renamed, so an interrupted run leaves nothing half made.
    """
    if data_dir.is_dir():
        _require_owner(data_dir, account)
    major = data_major(data_dir)
    if major is not None:
        _require_ours(data_dir)
        _require_same_major(servers, data_dir, major)
        return
    if data_dir.exists() and any(data_dir.iterdir()):
        raise StackError(
            f"{data_dir} is not empty and holds no PostgreSQL data.",
            "Choose another data directory, or empty this one.",
        )
    make_directory(data_dir.parent)
    work = data_dir.with_name(f".{data_dir.name}.unfinished")
    remove(work)
    claim(work, account)
    _initdb(servers, work, account)
    (work / "data").rename(data_dir)
    remove(work)


def configure(servers: Servers, data_dir: Path, port: int, overrides: Mapping[str, str]) -> None:
    """Write the settings, which a server applies at its start."""
    values = settings(
        memory=machine_memory(),
        port=port,
        shared_memory=_shared_memory(),
        wal_compression=_wal_compression(servers),
    )
    configuration = data_dir / CONFIGURATION
    partial = data_dir / f"{CONFIGURATION}.partial"
    partial.write_text(render({**values, **overrides}))
    _own_like(data_dir, partial)
    partial.replace(configuration)
    if servers.zoneinfo is not None:
        link = data_dir / DATA_DIR_LINK
        link.unlink(missing_ok=True)
        link.symlink_to(servers.zoneinfo)


def superuser_password(data_dir: Path) -> str:
    """Return the superuser's password; raises StackError if `data_dir` was not made by us."""
    try:
        return (data_dir / PASSWORD_FILE).read_text().strip()
    except OSError as error:
        raise StackError(
            f"The superuser's password cannot be read from {data_dir}: {error.strerror}.",
            "Use a data directory that Alatau made, as the user who made it.",
        ) from error


def running_postmaster(data_dir: Path) -> int | None:
    """Return the process id of the server that runs on `data_dir`, None if none does."""
    try:
        pid = int((data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    # After a crash or in another container the number may be anybody's.
    is_postmaster = command[0].endswith(b"postgres") and os.fsencode(data_dir) in command
    return pid if is_postmaster else None


def is_stopping(data_dir: Path) -> bool:
    """Tell whether the server that runs on `data_dir` has been told to stop."""
    try:
        # The eighth line is the server's own word on its state.
        return (data_dir / "postmaster.pid").read_text().split("\n")[7].strip() == "stopping"
    except (OSError, IndexError):
        return False


def discard_stale_lock(data_dir: Path) -> None:
    """Remove the lock file of a server that died; PostgreSQL itself gives up if its number is reused."""
    if running_postmaster(data_dir) is None:
        (data_dir / "postmaster.pid").unlink(missing_ok=True)


def remove_data(data_dir: Path) -> None:
    """Delete a database with everything in it; raises StackError if a server runs on it or it is not ours."""
    if pid := running_postmaster(data_dir):
        raise StackError(
            f"PostgreSQL (pid {pid}) runs on {data_dir}.", "Stop it first, then run this command again."
        )
    remove(data_dir)


def _initdb(servers: Servers, work: Path, account: Account | None) -> None:
    data, password = work / "data", work / PASSWORD_FILE
    password.touch(mode=0o600)
    password.write_text(secrets.token_urlsafe(24) + "\n")
    lend(work, account)
    provider = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    result = run(
        [
            str(servers.postgres_bin / "initdb"),
            f"--pgdata={data}",
            f"--username={SUPERUSER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            *(provider if as_numbers(servers.postgres_version) >= (17,) else []),
            "--data-checksums",
        ],
        account=account,
        cwd=work,
        # Known without any file, so the choice does not depend on the machine.
        env={"TZ": "GMT"},
    )
    if result.returncode != 0:
        raise StackError(
            f"PostgreSQL could not create its data directory:\n{(result.stderr or result.stdout).strip()}",
            "The lines above say why; free space and permissions are the usual causes.",
        )
    password.rename(data / PASSWORD_FILE)
    with (data / "postgresql.conf").open("a") as file:
        file.write(f"\n{_INCLUDE}\n")
    mark(data)
    _own_like(data, data / MARKER)


def _require_ours(data_dir: Path) -> None:
    if not is_ours(data_dir):
        raise StackError(
            f"{data_dir} holds a PostgreSQL database that Alatau did not make.",
            "Choose another data directory, or set ALATAU_DATABASE_URL to use that database.",
        )


def _require_same_major(servers: Servers, data_dir: Path, major: int) -> None:
    if as_numbers(servers.postgres_version)[0] != major:
        raise StackError(
            f"{data_dir} was made by PostgreSQL {major}, and PostgreSQL {servers.postgres_version} "
            "cannot read it.",
            f"Install PostgreSQL {major} with timescaledb, or move the directory away to start afresh.",
        )


def _require_owner(data_dir: Path, account: Account | None) -> None:
    uid = account.uid if account else os.geteuid()
    owner = data_dir.stat().st_uid
    # Root may replace an empty directory, whoever has it.
    if owner not in (uid, os.geteuid()):
        raise StackError(
            f"{data_dir} belongs to user number {owner}, and the server would run as number {uid}.",
            "Run this as the user who made the data, or choose another data directory.",
        )


def _own_like(data_dir: Path, path: Path) -> None:
    status = data_dir.stat()
    if os.geteuid() == 0:
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)


def _shared_memory() -> int:
    try:
        status = os.statvfs("/dev/shm")  # noqa: S108 - a mount point, nothing is created there
    except OSError:
        return 0
    return status.f_frsize * status.f_blocks


def _wal_compression(servers: Servers) -> str:
    built_with = output([str(servers.postgres_bin / "pg_config"), "--configure"]) or ""
    return "lz4" if "--with-lz4" in built_with else "on"
