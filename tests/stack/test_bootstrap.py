"""The script `alatau`, with a stand-in for Python, so that nothing is downloaded."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack.programs import PROJECT, Result, run_program, start_program, write_program

SCRIPT = PROJECT / "alatau"

PYTHON = """
case "$1 $2" in
    "-c "*) exit 0 ;;
    "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    "-m pip")
        [ "$3" = --version ] && exit 0
        echo "$@" >> "$CALLS"
        [ -z "${SLOW:-}" ] || exec sleep "$SLOW"
        [ -z "${PIP_FAILURE:-}" ] || { echo "$PIP_FAILURE"; exit 1; } ;;
    *) echo "ran $*" ;;
esac
"""

Run = Callable[..., Result]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "check out"
    root.mkdir()
    shutil.copy(SCRIPT, root / "alatau")
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "constraints.txt").write_text("")
    return root


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    python = write_program(tmp_path / "python", PYTHON)
    (tmp_path / "calls").touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ALATAU_")}
    return {**kept, "ALATAU_PYTHON": str(python), "CALLS": str(tmp_path / "calls")}


@pytest.fixture
def run(checkout: Path, environment: dict[str, str]) -> Run:
    def run(*arguments: str, script: Path | None = None, **extra: str) -> Result:
        return run_program(script or checkout / "alatau", *arguments, env={**environment, **extra})

    return run


def installs(environment: dict[str, str]) -> list[str]:
    return Path(environment["CALLS"]).read_text().splitlines()


def test_first_run_installs_and_the_second_only_runs(run: Run, environment: dict[str, str]) -> None:
    first = run("up", "--port", "1 2")
    assert first.stdout == "ran -P -m cli up --port 1 2\n"
    assert "Creating" in first.stderr
    second = run("up")
    assert (second.stdout, second.stderr) == ("ran -P -m cli up\n", "")
    (call,) = installs(environment)
    assert "--constraint" in call


def test_changed_dependencies_are_installed(run: Run, checkout: Path, environment: dict[str, str]) -> None:
    run()
    (checkout / "constraints.txt").write_text("numpy==2.0\n")
    run()
    assert len(installs(environment)) == 2


def test_development_tools_are_installed_when_needed_and_stay(
    run: Run, checkout: Path, environment: dict[str, str]
) -> None:
    run("up")
    run("test")
    run("up")
    (checkout / "constraints.txt").write_text("numpy==2.0\n")
    run("up")
    assert [("[dev]" in call) for call in installs(environment)] == [False, True, True]


def test_failed_installation_is_explained_and_tried_again(run: Run, environment: dict[str, str]) -> None:
    failed = run(PIP_FAILURE="ERROR: [Errno 28] No space left on device")
    assert failed.returncode == 1
    assert "No space left on device" in failed.stderr
    assert failed.stderr.splitlines()[-1].strip().startswith("-> Free some space")
    assert "network" in run(PIP_FAILURE="Temporary failure in name resolution").stderr
    assert "install.log" in run(PIP_FAILURE="something else").stderr
    assert run().returncode == 0
    assert len(installs(environment)) == 4


def test_it_works_through_links_and_from_anywhere(run: Run, checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/first").symlink_to(checkout / "alatau")
    (tmp_path / "bin/second").symlink_to("first")
    assert run("up", script=tmp_path / "bin/second").stdout == "ran -P -m cli up\n"
    assert (checkout / ".venv/bin/python").exists()


def test_moved_checkout_gets_a_new_environment(run: Run, checkout: Path, tmp_path: Path) -> None:
    run()
    stale = checkout / ".venv/bin/stale"
    stale.touch()
    moved = checkout.rename(tmp_path / "moved")
    assert run(script=moved / "alatau").returncode == 0
    assert not (moved / ".venv/bin/stale").exists()


def test_strange_directory_is_not_taken_for_the_environment(run: Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/holiday").touch()
    refused = run(ALATAU_VENV=str(tmp_path / "photos"))
    assert refused.returncode == 1
    assert "ALATAU_VENV" in refused.stderr
    assert [entry.name for entry in (tmp_path / "photos").iterdir()] == ["holiday"]


def test_unsuitable_python_says_what_to_do(run: Run, tmp_path: Path) -> None:
    old = write_program(tmp_path / "old", "exit 1")
    refused = run(ALATAU_PYTHON=str(old))
    assert refused.returncode == 1
    assert "unset ALATAU_PYTHON" in refused.stderr


def test_machine_without_python_says_what_to_install(run: Run, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "cksum", "dirname", "readlink", "flock"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    refused = run(ALATAU_PYTHON="", PATH=str(tools))
    assert refused.returncode == 1
    assert "apt install python3 python3-venv" in refused.stderr
    write_program(tools / "python3", 'case "$2" in *ensurepip*) exit 1 ;; esac')
    assert "python3-venv" in run(ALATAU_PYTHON="", PATH=str(tools)).stderr


def test_two_at_once_install_once(checkout: Path, environment: dict[str, str]) -> None:
    processes = [
        start_program(checkout / "alatau", "up", env={**environment, "SLOW": "0.3"}) for _ in range(2)
    ]
    assert [process.communicate()[0] for process in processes] == ["ran -P -m cli up\n"] * 2
    assert len(installs(environment)) == 1


def test_interrupted_installation_is_begun_again(
    run: Run, checkout: Path, environment: dict[str, str]
) -> None:
    with start_program(checkout / "alatau", "up", env={**environment, "SLOW": "30"}) as process:
        deadline = time.monotonic() + 10
        while not installs(environment):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.terminate()
    assert process.returncode == 130
    assert run("up").stdout == "ran -P -m cli up\n"
    assert len(installs(environment)) == 2
