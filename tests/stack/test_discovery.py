from pathlib import Path

import pytest

from stack.debian import VERSIONS_FILE
from stack.discovery import Broker, Database, Rejected, SearchPaths, find_brokers, find_databases
from stack.recipe import Tree
from stack.servers import find_servers
from tests.stack.programs import write_program


def install_postgres(root: Path, version: str, timescaledb: str | None) -> Path:
    directory = root / "bin"
    for name in ("initdb", "pg_isready", "psql"):
        write_program(directory / name, "exit 0")
    write_program(directory / "postgres", f"echo 'postgres (PostgreSQL) {version}'")
    write_program(directory / "pg_config", f"echo {root}/share")
    if timescaledb:
        control = root / "share/extension/timescaledb.control"
        control.parent.mkdir(parents=True)
        control.write_text(f"default_version = '{timescaledb}'\n")
    return directory


def install_mosquitto(root: Path, version: str, *, plugin: bool = True) -> Path:
    # As the real one: help goes with status 3.
    write_program(root / "bin/mosquitto", f"echo mosquitto version {version}; exit 3")
    for name in ("mosquitto_pub", "mosquitto_sub"):
        write_program(root / f"bin/{name}", "exit 0")
    if plugin:
        (root / "lib/x86_64-linux-gnu").mkdir(parents=True)
        (root / "lib/x86_64-linux-gnu/mosquitto_dynamic_security.so").touch()
    return root / "bin"


def pretend_provisioned(prefix: Path) -> None:
    plugin = prefix / "usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so"
    plugin.parent.mkdir(parents=True)
    plugin.touch()
    for program in Tree(prefix).executables:
        write_program(program, "exit 0")
    versions = '{"postgres": "17.6", "timescaledb": "2.19.3", "mosquitto": "2.0.21"}'
    (prefix / VERSIONS_FILE).write_text(versions)


def test_suitable_postgres_is_found_with_its_versions(tmp_path: Path) -> None:
    directory = install_postgres(tmp_path, "16.4", "2.20.1")
    assert list(find_databases([tmp_path / "nothing", directory])) == [Database(directory, "16.4", "2.20.1")]


@pytest.mark.parametrize(
    ("postgres", "timescaledb", "reason"),
    [
        ("14.1", "2.19.3", "older than 15"),
        ("16.4", None, "no timescaledb extension"),
        ("16.4", "2.17.0", "older than 2.18.1"),
        ("broken", None, "does not run"),
    ],
)
def test_unsuitable_postgres_is_rejected_with_the_reason(
    tmp_path: Path, postgres: str, timescaledb: str | None, reason: str
) -> None:
    directory = install_postgres(tmp_path, postgres, timescaledb)
    (found,) = find_databases([directory])
    assert isinstance(found, Rejected)
    assert reason in found.reason


def test_suitable_broker_is_found_with_its_plugin(tmp_path: Path) -> None:
    directory = install_mosquitto(tmp_path, "2.0.21")
    (found,) = find_brokers([directory])
    assert isinstance(found, Broker)
    assert found.version == "2.0.21"
    assert found.plugin.is_file()


def test_unsuitable_brokers_are_rejected_with_the_reason(tmp_path: Path) -> None:
    old = install_mosquitto(tmp_path / "old", "2.0.11")
    bare = install_mosquitto(tmp_path / "bare", "2.0.22", plugin=False)
    first, second = find_brokers([old, bare])
    assert isinstance(first, Rejected)
    assert "older than 2.0.21" in first.reason
    assert isinstance(second, Rejected)
    assert "mosquitto_dynamic_security.so" in second.reason


def test_machine_with_both_servers_needs_no_provisioning(tmp_path: Path) -> None:
    search = SearchPaths(
        (install_postgres(tmp_path / "pg", "17.6", "2.19.3"),), (install_mosquitto(tmp_path / "mq", "2.1.2"),)
    )
    servers = find_servers({}, None, search=search)
    assert servers is not None
    assert servers.origin == "system"
    assert servers.zoneinfo is None


def test_database_and_broker_are_looked_for_separately(tmp_path: Path) -> None:
    pretend_provisioned(tmp_path / "prefix")
    only_broker = SearchPaths((), (install_mosquitto(tmp_path / "mq", "2.1.2"),))
    assert find_servers({}, None, search=only_broker) is None
    servers = find_servers({}, tmp_path / "prefix", search=only_broker)
    assert servers is not None
    assert (servers.postgres_origin, servers.mosquitto_origin) == ("provisioned", "system")
    assert servers.origin == "mixed"
    assert servers.zoneinfo is not None


def test_postgres_that_cannot_read_existing_data_is_passed_over(tmp_path: Path) -> None:
    pretend_provisioned(tmp_path / "prefix")
    search = SearchPaths((install_postgres(tmp_path / "pg", "18.1", "2.23.0"),), ())
    (tmp_path / "data").mkdir()
    (tmp_path / "data/PG_VERSION").write_text("17\n")
    servers = find_servers({}, tmp_path / "prefix", search=search, data_dir=tmp_path / "data")
    assert servers is not None
    assert servers.postgres_version == "17.6"


def test_unfinished_prefix_does_not_count(tmp_path: Path) -> None:
    assert find_servers({}, tmp_path, search=SearchPaths((), ())) is None


def test_prefix_that_was_cleaned_out_by_half_does_not_count(tmp_path: Path) -> None:
    pretend_provisioned(tmp_path)
    assert find_servers({}, tmp_path, search=SearchPaths((), ())) is not None
    (Tree(tmp_path).postgres_bin / "initdb").unlink()
    assert find_servers({}, tmp_path, search=SearchPaths((), ())) is None


def test_path_is_searched_in_order() -> None:
    search = SearchPaths.of_machine({"PATH": "/first:/second:/first"})
    assert search.postgres[:2] == (Path("/first"), Path("/second"))
    assert Path("/usr/sbin") in search.broker
