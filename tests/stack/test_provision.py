import dataclasses
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.apt import Apt
from stack.debian import RELEASE
from stack.errors import StackError
from stack.progress import silent
from stack.provision import SERVERS, provision, provisioned_versions, servers_prefix, verify
from stack.recipe import Tree
from tests.stack.programs import write_program


@pytest.fixture
def mirror_of_nothing(tmp_path: Path) -> dict[str, str]:
    return {"ALATAU_DEBIAN_MIRROR": f"file:{tmp_path}/no-mirror"}


@pytest.fixture
def in_vain(directory: Path) -> Iterator[Path]:
    """A prefix that must not come into being."""
    prefix = directory / "cache/servers"
    yield prefix
    assert not prefix.exists()


def test_missing_mirror_says_what_to_do(in_vain: Path, mirror_of_nothing: dict[str, str]) -> None:
    with pytest.raises(StackError) as caught:
        provision(in_vain, mirror_of_nothing, silent)
    assert RELEASE in caught.value.message
    for way_out in ("ALATAU_DEBIAN_MIRROR", "docker compose", "ALATAU_DATABASE_URL"):
        assert way_out in caught.value.remedy


def test_machine_without_apt_says_what_to_do(in_vain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(StackError) as caught:
        provision(in_vain, {}, silent)
    assert "apt-get" in caught.value.message
    assert "docker compose" in caught.value.remedy


def test_full_disk_is_noticed_before_anything_is_downloaded(
    in_vain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.provision.SERVERS", dataclasses.replace(SERVERS, disk_needed=1 << 60))
    with pytest.raises(StackError) as caught:
        provision(in_vain, {}, silent)
    assert "MB free" in caught.value.message
    assert "ALATAU_CACHE_DIR" in caught.value.remedy


def test_packages_are_never_taken_unverified(tmp_path: Path) -> None:
    apt = Apt(tmp_path, "amd64", keyrings=[tmp_path / "missing.gpg"])
    apt.prepare(())
    with pytest.raises(StackError) as caught:
        apt.use("file:/anything", RELEASE, silent)
    assert "debian-archive-keyring" in caught.value.remedy


def test_unsigned_mirror_is_refused(tmp_path: Path) -> None:
    release = tmp_path / "mirror/dists" / RELEASE / "Release"
    release.parent.mkdir(parents=True)
    release.write_text(f"Origin: Nobody\nCodename: {RELEASE}\nArchitectures: amd64\nComponents: main\n")
    apt = Apt(tmp_path / "work", "amd64")
    apt.prepare(())
    with pytest.raises(StackError, match="not signed"):
        apt.use(f"file:{tmp_path}/mirror", RELEASE, silent)


def test_addresses_of_mirrors_are_kept_private(tmp_path: Path) -> None:
    apt = Apt(tmp_path / "work", "amd64")
    apt.prepare(())
    assert stat.S_IMODE((tmp_path / "work/sources.list").stat().st_mode) == 0o600


def test_program_that_does_not_run_is_named(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for program in tree.executables:
        write_program(program, "echo version 1.2")
    write_program(tree.postgres_bin / "psql", "echo cannot execute; exit 126")
    with pytest.raises(StackError) as caught:
        verify(tree)
    assert "psql does not run: cannot execute" in caught.value.message
    assert "noexec" in caught.value.remedy


@pytest.mark.servers
def test_two_that_provision_at_once_make_one_set_of_servers(directory: Path) -> None:
    prefix = servers_prefix(directory / "cache")
    # As an interrupted run leaves it behind.
    (prefix / "usr/bin").mkdir(parents=True)
    steps: list[str] = []
    fractions: list[float] = []
    failures: list[StackError] = []

    def report(step: str, fraction: float | None) -> None:
        steps.append(step)
        if fraction is not None:
            fractions.append(fraction)

    def work() -> None:
        try:
            provision(prefix, os.environ, report)
        except StackError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(step.startswith("Waiting for another") for step in steps) == 1
    assert len({step for step in steps if step.startswith("Downloading")}) == 1
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert max(fractions) > 0.9
    assert provisioned_versions(prefix) == verify(Tree(prefix))
    assert sorted(entry.name for entry in prefix.parent.iterdir()) == ["provision.lock", prefix.name]


@pytest.mark.servers
def test_machine_names_its_mirrors_without_lists_of_its_own(tmp_path: Path) -> None:
    apt = Apt(tmp_path, "amd64")
    apt.prepare(())
    mirrors = apt.machine_mirrors()
    assert mirrors
    assert not any("security" in mirror for mirror in mirrors)
