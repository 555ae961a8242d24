"""Provisioning: TimescaleDB and Mosquitto from Debian's packages into a directory of ours."""

import json
import os
import platform
import shutil
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stack.apt import Apt
from stack.commands import output, run
from stack.elf import interpreter, relocate, replace_string
from stack.errors import SERVERS_BY_OTHER_MEANS, StackError
from stack.layout import make_directory
from stack.locks import exclusive
from stack.ownership import MARKER, is_ours, mark, remove
from stack.progress import Report
from stack.recipe import DISK_NEEDED, PACKAGES, RELEASE, STAND_INS, UNNEEDED, Tree, prefix_name
from stack.timezones import DATA_DIR_LINK, SYSTEM_ZONEINFO, knows_almaty_2024
from stack.versions import control_version, find_version

VERSIONS_FILE = "versions.json"
_PACKAGES_FILE = "packages.json"


@dataclass(frozen=True, slots=True)
class Package:
    """One of Debian's packages."""

    name: str
    version: str
    architecture: str


def servers_prefix(cache: Path) -> Path:
    """Return where this version of the recipe puts the servers below the cache directory."""
    architecture = (output(["dpkg", "--print-architecture"]) or platform.machine()).strip()
    return cache / prefix_name(architecture)


def provisioned_versions(prefix: Path) -> dict[str, str] | None:
    """Return the versions of servers provisioned to their end at `prefix`, None if there are none."""
    try:
        versions: dict[str, str] = json.loads((prefix / VERSIONS_FILE).read_text())
    except (OSError, ValueError):
        return None
    # A cache may be cleaned out by half.
    return versions if all(program.is_file() for program in Tree(prefix).executables) else None


def provisioned_packages(prefix: Path) -> list[Package]:
    """Return the packages that the servers provisioned at `prefix` are of; none where there are none."""
    try:
        return [Package(**one) for one in json.loads((prefix / _PACKAGES_FILE).read_text())]
    except OSError:
        return []


def provision(prefix: Path, env: Mapping[str, str], report: Report) -> None:
    """Build the servers at `prefix`, unless they are there; a call that finds another at work waits.

    ALATAU_DEBIAN_MIRROR, where set, is used instead of the machine's own mirrors. Raises StackError.
    """
    make_directory(prefix.parent)
    try:
        with exclusive(prefix.parent / "provision.lock", report):
            if provisioned_versions(prefix):
                return
            _require_tools()
            _require_space(prefix.parent)
            _build(prefix, env, report)
    except OSError as error:
        raise StackError(
            f"The servers cannot be provisioned: {error}.",
            f"Check the free space and the permissions of {prefix.parent}, or set ALATAU_CACHE_DIR.",
        ) from error


def mirrors(apt: Apt, env: Mapping[str, str]) -> list[str]:
    """Return the mirrors to try, in order."""
    chosen = env.get("ALATAU_DEBIAN_MIRROR")
    return [chosen] if chosen else apt.machine_mirrors()


def _build(prefix: Path, env: Mapping[str, str], report: Report) -> None:
    work = prefix.with_name(f"{prefix.name}.work")
    make_directory(work)
    mark(work)
    architecture = (output(["dpkg", "--print-architecture"]) or "").strip()
    apt = Apt(work, architecture)
    apt.prepare(STAND_INS)
    _use_first_mirror(apt, mirrors(apt, env), report)
    files = apt.download(PACKAGES, report)
    tree = Tree(work / "tree")
    shutil.rmtree(tree.prefix, ignore_errors=True)
    _unpack(files, tree.prefix, report)
    report("Adapting the programs", None)
    _trim(tree.prefix)
    _adapt(tree, prefix)
    _discard_unfinished(prefix)
    tree.prefix.rename(prefix)
    report("Checking the programs", None)
    versions = verify(Tree(prefix))
    mark(prefix)
    packages = [asdict(_package(file)) for file in sorted(files)]
    (prefix / _PACKAGES_FILE).write_text(json.dumps(packages, indent=2) + "\n")
    # Last, because its presence says that everything else is there.
    partial = prefix / f"{VERSIONS_FILE}.partial"
    partial.write_text(json.dumps(versions, indent=2) + "\n")
    partial.replace(prefix / VERSIONS_FILE)
    remove(work)


def _use_first_mirror(apt: Apt, candidates: Sequence[str], report: Report) -> None:
    if not candidates:
        raise StackError(
            "This machine's apt has no package mirror.",
            f"Set ALATAU_DEBIAN_MIRROR to a Debian mirror. {SERVERS_BY_OTHER_MEANS}",
        )
    failures = []
    for mirror in candidates:
        try:
            apt.use(mirror, RELEASE, report)
        except StackError as error:
            failures.append(error)
        else:
            return
    # The first candidate is the likeliest, so its failure explains most.
    first = failures[0]
    raise StackError(
        f"No mirror of this machine offers Debian {RELEASE} ({len(candidates)} tried). {first.message}",
        f"{first.remedy} Or set ALATAU_DEBIAN_MIRROR to a Debian mirror that this machine can reach.",
    )


def _unpack(files: Sequence[Path], target: Path, report: Report) -> None:
    make_directory(target)
    for done, file in enumerate(files):
        report(f"Unpacking {len(files)} packages", done / len(files))
        result = run(["dpkg-deb", "--extract", str(file), str(target)])
        if result.returncode != 0:
            # A damaged file would be trusted again by its size.
            file.unlink()
            raise StackError(
                f"{file.name} cannot be unpacked: {result.stderr.strip()}",
                "Check the free disk space and run the command again.",
            )


def _package(file: Path) -> Package:
    # The version's colon, which is none in a file's name, is written %3a.
    name, version, architecture = urllib.parse.unquote(file.stem).split("_")
    return Package(name, version, architecture)


def _trim(root: Path) -> None:
    for pattern in UNNEEDED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _adapt(tree: Tree, final_prefix: Path) -> None:
    loader = interpreter(tree.postgres_bin / "postgres")
    if loader is None:
        raise StackError(
            "The unpacked PostgreSQL is not a program for this kind of machine.", SERVERS_BY_OTHER_MEANS
        )
    libraries = next(tree.prefix.glob(f"usr/lib/*/{Path(loader).name}")).parent
    for directory in {path.parent for path in tree.executables}:
        # The loader must be named by its final path; the libraries are found wherever the tree is.
        relocate(
            [path for path in tree.executables if path.parent == directory],
            final_prefix / libraries.relative_to(tree.prefix) / Path(loader).name,
            f"$ORIGIN/{os.path.relpath(libraries, directory)}",
        )
    replace_string(tree.postgres_bin / "postgres", str(SYSTEM_ZONEINFO), DATA_DIR_LINK)


def _discard_unfinished(prefix: Path) -> None:
    if prefix.exists():
        # Ours by its name, but interrupted before it was marked.
        if not is_ours(prefix):
            (prefix / MARKER).touch()
        remove(prefix)


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


def _require_tools() -> None:
    missing = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
    if missing:
        raise StackError(
            f"The servers are provisioned from Debian's packages, but {' and '.join(missing)} "
            "is not on this machine.",
            SERVERS_BY_OTHER_MEANS,
        )


def _require_space(directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < DISK_NEEDED:
        raise StackError(
            f"{directory} has {free // 1_000_000} MB free, the servers need {DISK_NEEDED // 1_000_000} MB.",
            "Free some space, or set ALATAU_CACHE_DIR to a directory on another disk.",
        )
