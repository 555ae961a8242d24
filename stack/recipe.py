"""What is provisioned: Debian's packages, which of their files are kept, and where the programs are."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from stack.debian import RELEASE

POSTGRES_MAJOR = 17

PACKAGES = (f"postgresql-{POSTGRES_MAJOR}-timescaledb", "mosquitto", "mosquitto-clients")

# Dependencies that the servers can do without when nothing is installed (maintainer scripts, the LLVM
# of the just-in-time compiler): apt is told that they are there already. Saves 51 of 98 packages, 57 MB.
STAND_INS = (
    "adduser",
    "debconf",
    "init-system-helpers",
    "libllvm19",
    "libsasl2-modules-db",
    "locales",
    "openssl-provider-legacy",
    "postgresql-client-common",
    "postgresql-common",
    "readline-common",
    "sensible-utils",
    "ssl-cert",
    "sysvinit-utils",
)

_POSTGRES_PROGRAMS = (
    "initdb",
    "pg_basebackup",
    "pg_config",
    "pg_controldata",
    "pg_ctl",
    "pg_dump",
    "pg_dumpall",
    "pg_isready",
    "pg_restore",
    "pgbench",
    "postgres",
    "psql",
)
_MOSQUITTO_PROGRAMS = ("mosquitto_ctrl", "mosquitto_passwd", "mosquitto_pub", "mosquitto_rr", "mosquitto_sub")

# Paths and patterns below the unpacked tree.
UNNEEDED = (
    "etc",
    "usr/lib/*/gconv",
    f"usr/lib/postgresql/{POSTGRES_MAJOR}/lib/bitcode",
    "usr/lib/systemd",
    "usr/lib/tmpfiles.d",
    "usr/share/doc",
    "usr/share/gcc",
    "usr/share/gdb",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    f"usr/share/postgresql/{POSTGRES_MAJOR}/man",
    # A link to the machine's own choice.
    "usr/share/zoneinfo/localtime",
    "var",
)

# Measured: 140 MB of lists, packages and unpacked files at the peak, 110 MB kept, and room for a database.
DISK_NEEDED = 600_000_000
"""Bytes that must be free before provisioning."""

_LAYOUT = 2
"""To be raised when the provisioning changes in a way that the constants above do not show."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The paths of the recipe's programs below a prefix."""

    prefix: Path

    @property
    def postgres_bin(self) -> Path:
        """Return the directory of PostgreSQL's programs."""
        return self.prefix / f"usr/lib/postgresql/{POSTGRES_MAJOR}/bin"

    @property
    def timescaledb_control(self) -> Path:
        """Return the control file of the timescaledb extension."""
        return self.prefix / f"usr/share/postgresql/{POSTGRES_MAJOR}/extension/timescaledb.control"

    @property
    def mosquitto(self) -> Path:
        """Return the broker's program."""
        return self.prefix / "usr/sbin/mosquitto"

    @property
    def clients(self) -> Path:
        """Return the directory of Mosquitto's clients."""
        return self.prefix / "usr/bin"

    @property
    def zoneinfo(self) -> Path:
        """Return the directory of the time zone data."""
        return self.prefix / "usr/share/zoneinfo"

    @property
    def executables(self) -> tuple[Path, ...]:
        """Return every program that must run."""
        return (
            *(self.postgres_bin / name for name in _POSTGRES_PROGRAMS),
            self.mosquitto,
            *(self.clients / name for name in _MOSQUITTO_PROGRAMS),
        )


def prefix_name(architecture: str) -> str:
    """Return the directory name of servers made by this very recipe for a Debian architecture."""
    recipe = json.dumps([RELEASE, POSTGRES_MAJOR, PACKAGES, STAND_INS, UNNEEDED, _LAYOUT])
    return f"servers-{RELEASE}-{architecture}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"
