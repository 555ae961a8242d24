import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from signal import SIGINT, SIGTERM

import pytest

from stack.errors import StackError
from stack.process import Child, Program
from tests.stack.programs import start_program


def shell(script: str, log: Path) -> Program:
    return Program("The server", ["/bin/sh", "-c", script], log, SIGTERM)


async def never() -> bool:
    return False


async def test_program_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a line of an earlier run\n")
    child = Child(shell("echo 'no such option: --foo' >&2; exit 7", tmp_path / "log"))
    with pytest.raises(StackError) as caught:
        await child.wait_ready(never, 10)
    assert "exit status 7" in caught.value.message
    assert "no such option: --foo" in caught.value.message
    assert "earlier run" not in caught.value.message
    assert str(tmp_path / "log") in caught.value.remedy


async def test_program_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    child = Child(shell("echo waiting; exec sleep 60", tmp_path / "log"))
    with pytest.raises(StackError, match=r"not ready after 0\.1 s"):
        await child.wait_ready(never, 0.1)
    assert await child.stop((SIGTERM, 10.0)) == -SIGTERM


async def test_deaf_program_is_killed(tmp_path: Path) -> None:
    child = Child(shell("trap '' TERM INT; echo deaf; while :; do sleep 1; done", tmp_path / "log"))

    async def started() -> bool:
        return "deaf" in child.last_lines()

    await child.wait_ready(started, 10)
    assert await child.stop((SIGINT, 0.1), (SIGTERM, 0.1)) == -signal.SIGKILL
    assert not child.running


async def test_terminal_signals_do_not_reach_the_program(tmp_path: Path) -> None:
    child = Child(shell("exec sleep 60", tmp_path / "log"))
    assert os.getsid(child.pid) == child.pid
    await child.stop((SIGTERM, 10.0))


async def test_missing_program_says_what_to_do(tmp_path: Path) -> None:
    program = Program("The server", ["/bin/true"], tmp_path / "log", SIGTERM, cwd=tmp_path / "none")
    with pytest.raises(StackError) as caught:
        Child(program)
    assert "doctor" in caught.value.remedy


def test_program_ends_with_a_killed_parent(tmp_path: Path) -> None:
    # Not SIGINT: a shell's background job, as this run may be one, hands it down ignored.
    script = (
        "import time; from pathlib import Path; from signal import SIGTERM; from stack.process import *\n"
        f"child = Child(Program('x', ['/bin/sleep', '60'], Path({str(tmp_path / 'log')!r}), SIGTERM))\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    with start_program(sys.executable, "-c", script) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_for_name(pid, "sleep")
        parent.kill()
    wait_for_end(pid)


def wait_for_name(pid: int, name: str) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/comm").read_text().strip() != name:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 30
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    # Nobody may be there to reap it.
    return state != "Z"


async def test_large_logs_are_rotated(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        log.truncate(20_000_000)
    child = Child(shell("echo new", tmp_path / "log"))
    await child.wait()
    assert (tmp_path / "log").read_text() == "new\n"
    assert (tmp_path / "log.1").stat().st_size == 20_000_000


async def test_children_can_be_stopped_together(tmp_path: Path) -> None:
    children = [Child(shell("exec sleep 60", tmp_path / f"log{n}")) for n in range(3)]
    statuses = await asyncio.gather(*(child.stop((SIGTERM, 10.0)) for child in children))
    assert statuses == [-SIGTERM] * 3
