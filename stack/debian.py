"""Provisioning: programs from Debian's packages into a directory of ours."""

import json
import shutil
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stack.apt import Apt
from stack.commands import output, run
from stack.errors import StackError
from stack.layout import make_directory
from stack.locks import exclusive
from stack.ownership import MARKER, is_ours, mark, remove
from stack.progress import Report

RELEASE = "trixie"
VERSIONS_FILE = "versions.json"
_PACKAGES_FILE = "packages.json"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is provisioned, and how it comes to run from a directory of ours.

    ``unneeded`` are patterns below the unpacked tree. ``adapt`` gets the tree and the prefix that it will be at,
    ``verify`` the prefix; it runs the programs and returns their versions. Both raise StackError.
    """

    what: str
    packages: tuple[str, ...]
    stand_ins: tuple[str, ...]
    unneeded: tuple[str, ...]
    disk_needed: int  # bytes
    by_other_means: str
    executables: Callable[[Path], Iterable[Path]]
    adapt: Callable[[Path, Path], None]
    verify: Callable[[Path], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Package:
    """One of Debian's packages."""

    name: str
    version: str
    architecture: str


def provisioned_versions(recipe: Recipe, prefix: Path) -> dict[str, str] | None:
    """Return the versions of programs provisioned to their end at `prefix`, None if there are none."""
    try:
        versions: dict[str, str] = json.loads((prefix / VERSIONS_FILE).read_text())
    except (OSError, ValueError):
        return None
    # A cache may be cleaned out by half.
    return versions if all(program.is_file() for program in recipe.executables(prefix)) else None


def provisioned_packages(prefix: Path) -> list[Package]:
    """Return the packages that what is provisioned at `prefix` is of; none where there is nothing."""
    try:
        return [Package(**one) for one in json.loads((prefix / _PACKAGES_FILE).read_text())]
    except OSError:
        return []


def provide(recipe: Recipe, prefix: Path, env: Mapping[str, str], report: Report) -> None:
    """Build what `recipe` says at `prefix`, unless it is there; a call that finds another at work waits.

    ALATAU_DEBIAN_MIRROR, where set, is used instead of the machine's own mirrors. Raises StackError.
    """
    make_directory(prefix.parent)
    try:
        with exclusive(prefix.parent / "provision.lock", report):
            if provisioned_versions(recipe, prefix):
                return
            _require_tools(recipe)
            _require_space(recipe, prefix.parent)
            _build(recipe, prefix, env, report)
    except OSError as error:
        raise StackError(
            f"The {recipe.what} cannot be provisioned: {error}.",
            f"Check the free space and the permissions of {prefix.parent}, or set ALATAU_CACHE_DIR.",
        ) from error


def mirrors(apt: Apt, env: Mapping[str, str]) -> list[str]:
    """Return the mirrors to try, in order."""
    chosen = env.get("ALATAU_DEBIAN_MIRROR")
    return [chosen] if chosen else apt.machine_mirrors()


def _build(recipe: Recipe, prefix: Path, env: Mapping[str, str], report: Report) -> None:
    work = prefix.with_name(f"{prefix.name}.work")
    make_directory(work)
    mark(work)
    architecture = (output(["dpkg", "--print-architecture"]) or "").strip()
    apt = Apt(work, architecture, recipe.by_other_means)
    apt.prepare(recipe.stand_ins)
    _use_first_mirror(apt, mirrors(apt, env), report)
    files = apt.download(recipe.packages, report)
    tree = work / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    _unpack(files, tree, report)
    report("Adapting the programs", None)
    _trim(tree, recipe.unneeded)
    recipe.adapt(tree, prefix)
    _discard_unfinished(prefix)
    tree.rename(prefix)
    report("Checking the programs", None)
    versions = recipe.verify(prefix)
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
            f"Set ALATAU_DEBIAN_MIRROR to a Debian mirror. {apt.by_other_means}",
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


def _trim(root: Path, unneeded: Sequence[str]) -> None:
    for pattern in unneeded:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _discard_unfinished(prefix: Path) -> None:
    if prefix.exists():
        # Ours by its name, but interrupted before it was marked.
        if not is_ours(prefix):
            (prefix / MARKER).touch()
        remove(prefix)


def _require_tools(recipe: Recipe) -> None:
    missing = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
    if missing:
        raise StackError(
            f"The {recipe.what} are provisioned from Debian's packages, but {' and '.join(missing)} "
            "is not on this machine.",
            recipe.by_other_means,
        )


def _require_space(recipe: Recipe, directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < recipe.disk_needed:
        raise StackError(
            f"{directory} has {free // 1_000_000} MB free, the {recipe.what} need "
            f"{recipe.disk_needed // 1_000_000} MB.",
            "Free some space, or set ALATAU_CACHE_DIR to a directory on another disk.",
        )
