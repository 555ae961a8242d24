# ruff: noqa: ASYNC240 - nothing else runs in the loop of a test
import asyncio
import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.accounts import server_account
from stack.cluster import remove_data, running_postmaster
from stack.errors import StackError
from stack.ownership import claim
from stack.ports import LOOPBACK, free_port
from stack.postgres import PostgresServer
from stack.servers import Servers
from tests.stack.programs import run_program, start_program, write_program
from tests.stack.test_process import wait_for_end

pytestmark = pytest.mark.servers


def query(servers: Servers, url: str, sql: str) -> str:
    psql = servers.postgres_bin / "psql"
    result = run_program(psql, "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql, url)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def data_dir(directory: Path) -> Iterator[Path]:
    path = directory / "postgres"
    yield path
    assert running_postmaster(path) is None


async def test_hypertables_and_the_city_s_time_zone_work(servers: Servers, data_dir: Path) -> None:
    async with PostgresServer(servers, data_dir, free_port()) as database:
        url = database.superuser_url
        query(servers, url, "CREATE EXTENSION timescaledb")
        query(servers, url, "CREATE TABLE m (time timestamptz NOT NULL, v float8)")
        query(servers, url, "SELECT create_hypertable('m', by_range('time'))")
        query(servers, url, "INSERT INTO m VALUES ('2024-02-29 12:00Z', 1), ('2024-03-01 12:00Z', 2)")
        local = query(servers, url, "SELECT time AT TIME ZONE 'Asia/Almaty' FROM m ORDER BY time")
        assert local.splitlines() == ["2024-02-29 18:00:00", "2024-03-01 17:00:00"]
        assert query(servers, url, "SELECT count(*) > 300 FROM pg_timezone_names") == "t"
        assert query(servers, url, "SHOW timescaledb.telemetry_level") == "off"


async def test_restart_keeps_the_data_and_applies_settings(servers: Servers, data_dir: Path) -> None:
    async with PostgresServer(servers, data_dir, free_port()) as database:
        query(servers, database.superuser_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    changed = {"work_mem": "7MB"}
    async with PostgresServer(servers, data_dir, free_port(), overrides=changed) as database:
        assert query(servers, database.superuser_url, "SELECT answer FROM kept") == "42"
        assert query(servers, database.superuser_url, "SHOW work_mem") == "7MB"


async def test_only_the_password_opens_the_server(servers: Servers, data_dir: Path) -> None:
    async with PostgresServer(servers, data_dir, free_port()) as database:
        url = f"postgresql://postgres@{LOOPBACK}:{database.port}/postgres"
        result = run_program(servers.postgres_bin / "psql", "-w", "-c", "SELECT 1", url)
        assert "no password supplied" in result.stderr
        (password,) = data_dir.glob("*password")
        assert password.stat().st_mode & 0o777 == 0o600


async def test_taken_port_is_named(servers: Servers, data_dir: Path, directory: Path) -> None:
    async with PostgresServer(servers, data_dir, free_port()) as database:
        other = PostgresServer(servers, directory / "other", database.port)
        with pytest.raises(StackError, match=str(database.port)):
            await other.start()


async def test_second_server_on_the_same_data_is_refused(servers: Servers, data_dir: Path) -> None:
    async with PostgresServer(servers, data_dir, free_port()):
        with pytest.raises(StackError, match="already") as caught:
            await PostgresServer(servers, data_dir, free_port()).start()
        assert "kill -INT" in caught.value.remedy
        with pytest.raises(StackError, match="runs on"):
            remove_data(data_dir)


async def test_interrupted_initdb_heals(servers: Servers, data_dir: Path, directory: Path) -> None:
    unfinished = directory / f".{data_dir.name}.unfinished"
    claim(unfinished, server_account())
    (unfinished / "data").mkdir()
    (unfinished / "data/PG_VERSION").write_text("17\n")
    broken = dataclasses.replace(servers, postgres_bin=directory / "broken")
    write_program(broken.postgres_bin / "initdb", "echo 'no room left' >&2; exit 1")
    with pytest.raises(StackError, match="no room left"):
        await PostgresServer(broken, data_dir, free_port()).start()
    assert not data_dir.exists()
    async with PostgresServer(servers, data_dir, free_port()) as database:
        assert query(servers, database.superuser_url, "SELECT 1") == "1"
    assert not unfinished.exists()


async def test_crashed_server_and_a_reused_process_number_heal(servers: Servers, data_dir: Path) -> None:
    async with PostgresServer(servers, data_dir, free_port()) as database:
        query(servers, database.superuser_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        pid = running_postmaster(data_dir)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert await database.wait() == -signal.SIGKILL
    lock = data_dir / "postmaster.pid"
    # Some process that lives and is no PostgreSQL.
    lock.write_text(lock.read_text().replace(str(pid), str(os.getpid()), 1))
    async with PostgresServer(servers, data_dir, free_port()) as database:
        assert query(servers, database.superuser_url, "SELECT answer FROM kept") == "42"


async def test_killed_parent_leaves_no_server_behind(servers: Servers, data_dir: Path) -> None:
    port = free_port()
    script = (
        "import asyncio, os; from pathlib import Path\n"
        "from stack.postgres import PostgresServer; from stack.servers import ensure_servers\n"
        "async def main():\n"
        f"    async with PostgresServer(ensure_servers(os.environ), Path({str(data_dir)!r}), {port}):\n"
        "        print('ready', flush=True); await asyncio.sleep(600)\n"
        "asyncio.run(main())"
    )
    with start_program(sys.executable, "-c", script) as parent:
        assert parent.stdout is not None
        assert await asyncio.to_thread(parent.stdout.readline) == "ready\n"
        pid = running_postmaster(data_dir)
        assert pid is not None
        parent.kill()
    # At once, while the old one is still stopping.
    async with PostgresServer(servers, data_dir, port) as database:
        assert query(servers, database.superuser_url, "SELECT 1") == "1"
        assert running_postmaster(data_dir) != pid
    wait_for_end(pid)


async def test_data_of_another_major_version_is_refused(servers: Servers, data_dir: Path) -> None:
    async with PostgresServer(servers, data_dir, free_port()):
        pass
    newer = dataclasses.replace(servers, postgres_version="99.1")
    with pytest.raises(StackError, match=r"PostgreSQL 99\.1 cannot read it"):
        await PostgresServer(newer, data_dir, free_port()).start()


async def test_strange_directories_are_left_alone(servers: Servers, data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "thesis.txt").touch()
    with pytest.raises(StackError, match="no PostgreSQL data"):
        await PostgresServer(servers, data_dir, free_port()).start()
    (data_dir / "PG_VERSION").write_text("17\n")
    with pytest.raises(StackError, match="did not make"):
        await PostgresServer(servers, data_dir, free_port()).start()
    assert (data_dir / "thesis.txt").exists()


async def test_wrong_setting_is_quoted_and_nothing_stays(servers: Servers, data_dir: Path) -> None:
    wrong = PostgresServer(servers, data_dir, free_port(), overrides={"work_mem": "plenty"})
    with pytest.raises(StackError, match="work_mem"):
        await wrong.start()
    assert running_postmaster(data_dir) is None


async def test_stopped_data_can_be_removed(servers: Servers, data_dir: Path) -> None:
    async with PostgresServer(servers, data_dir, free_port()):
        pass
    remove_data(data_dir)
    assert not data_dir.exists()
