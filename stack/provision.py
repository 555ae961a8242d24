"""The servers, TimescaleDB and Mosquitto, provisioned into a directory of ours."""

import platform
from collections.abc import Mapping
from pathlib import Path

from stack import debian
from stack.commands import output
from stack.debian import Recipe, provide
from stack.elf import adapt, replace_string
from stack.errors import SERVERS_BY_OTHER_MEANS, StackError
from stack.progress import Report
from stack.recipe import DISK_NEEDED, PACKAGES, STAND_INS, UNNEEDED, Tree, prefix_name
from stack.timezones import DATA_DIR_LINK, SYSTEM_ZONEINFO, knows_almaty_2024
from stack.versions import control_version, find_version


def servers_prefix(cache: Path) -> Path:
    """Return where this version of the recipe puts the servers below the cache directory."""
    return cache / prefix_name(machine_architecture())


def machine_architecture() -> str:
    """Return what Debian calls this kind of machine, or another name of it."""
    return (output(["dpkg", "--print-architecture"]) or platform.machine()).strip()


def provisioned_versions(prefix: Path) -> dict[str, str] | None:
    """Return the versions of servers provisioned to their end at `prefix`, None if there are none."""
    return debian.provisioned_versions(SERVERS, prefix)


def provision(prefix: Path, env: Mapping[str, str], report: Report) -> None:
    """Build the servers at `prefix`, unless they are there; a call that finds another at work waits.

    ALATAU_DEBIAN_MIRROR, where set, is used instead of the machine's own mirrors. Raises StackError.
    """
    provide(SERVERS, prefix, env, report)


def _adapt(root: Path, final_prefix: Path) -> None:
    tree = Tree(root)
    adapt(root, final_prefix, tree.executables, SERVERS_BY_OTHER_MEANS)
    replace_string(tree.postgres_bin / "postgres", str(SYSTEM_ZONEINFO), DATA_DIR_LINK)


def verify(tree: Tree) -> dict[str, str]:
    """Run every program of `tree` and return the servers' versions; raises StackError if one fails."""
    printed = {}
    for program in tree.executables:
        # mosquitto knows no --version, and explains itself with status 3.
        text = output([str(program), "-h" if program == tree.mosquitto else "--version"])
        version = find_version(text or "")
        if version is None:
            raise StackError(
                f"The provisioned {program.name} does not run: {(text or 'it cannot be started').strip()}",
                "If the disk is mounted noexec, set ALATAU_CACHE_DIR to a directory on another one. "
                + SERVERS_BY_OTHER_MEANS,
            )
        printed[program.name] = version
    if not knows_almaty_2024(tree.zoneinfo):
        raise StackError("The provisioned time zone data is out of date.", SERVERS_BY_OTHER_MEANS)
    return {
        "postgres": printed["postgres"],
        "timescaledb": control_version(tree.timescaledb_control.read_text()),
        "mosquitto": printed["mosquitto"],
    }


SERVERS = Recipe(
    what="servers",
    packages=PACKAGES,
    stand_ins=STAND_INS,
    unneeded=UNNEEDED,
    disk_needed=DISK_NEEDED,
    by_other_means=SERVERS_BY_OTHER_MEANS,
    executables=lambda prefix: Tree(prefix).executables,
    adapt=_adapt,
    verify=lambda prefix: verify(Tree(prefix)),
)
