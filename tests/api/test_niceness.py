"""The API gives way: its own process, and those of the database that answer it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

import api.niceness
from api.niceness import make_give_way
from storage.database import connect
from tests.conftest import Database

AUTOGROUP = pathlib.Path("/proc/self/autogroup").exists()


def niceness(process: int) -> tuple[int, int]:
    """Return that of a process, and of its session."""
    own = os.getpriority(os.PRIO_PROCESS, process)
    if not AUTOGROUP:
        return own, own
    return own, int(pathlib.Path(f"/proc/{process}/autogroup").read_text().split()[-1])


@pytest.mark.servers
async def test_the_process_that_answers_gives_way_with_its_session(database: Database) -> None:
    connection = await connect(database.api_url, application="test")
    try:
        assert await make_give_way(connection, 7)
        own, of_session = niceness(connection.get_server_pid())
        # A server that was lowered further when it was started stays so.
        assert own >= 7
        assert of_session in (7, own)
    finally:
        await connection.close()


@pytest.mark.servers
@pytest.mark.parametrize("title", ["postgres: alatau_api alatau 127.0.0.1(1) idle", "cat (PORT) x", None])
async def test_a_process_of_that_number_that_is_not_ours_is_left_alone(
    database: Database, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, title: str | None
) -> None:
    connection = await connect(database.api_url, application="test")
    try:
        port, process = await connection.fetchval("SELECT inet_client_port()"), connection.get_server_pid()
        if title:
            (tmp_path / str(process)).mkdir()
            (tmp_path / str(process) / "cmdline").write_text(title.replace("PORT", str(port)))
        before = niceness(process)
        monkeypatch.setattr(api.niceness, "_PROCESSES", tmp_path)
        assert not await make_give_way(connection, 7)
        assert niceness(process) == before
    finally:
        await connection.close()


@pytest.mark.parametrize(("leads_session", "of_session"), [(True, 5), (False, 0)])
def test_a_service_gives_way_with_its_session_and_a_program_in_a_shell_alone(
    *, leads_session: bool, of_session: int
) -> None:
    # In a session of its own, so that this one stays as it is whatever happens.
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    give_way = "import os; from api.niceness import give_way; give_way(5)"
    show = "print(os.getpriority(os.PRIO_PROCESS, 0))"
    if AUTOGROUP:
        show += "; print(open('/proc/self/autogroup').read().split()[-1])"
    program = [sys.executable, "-c", f"{give_way}; {show}"]
    if not leads_session:
        program = ["/bin/sh", "-c", '"$@"; exit', "sh", *program]
    said = subprocess.run(  # noqa: S603 - an argument list of ours
        program, start_new_session=True, capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == [str(max(5, usual)), *([str(of_session)] if AUTOGROUP else [])]
