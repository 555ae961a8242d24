from pathlib import Path

import pytest

from stack.accounts import server_account
from stack.errors import StackError
from stack.mosquitto import MosquittoServer
from stack.ownership import claim
from stack.ports import free_port, is_free
from stack.servers import Servers
from tests.stack.programs import run_program

pytestmark = pytest.mark.servers


def write_credentials(servers: Servers, file: Path, password: str) -> None:
    result = run_program(servers.mosquitto_ctrl, "dynsec", "init", file, "admin", password)
    assert result.returncode == 0, result.stderr


def write_configuration(servers: Servers, directory: Path, port: int, extra: str = "") -> Path:
    claim(directory, server_account())
    credentials = directory / "dynamic-security.json"
    if not credentials.exists():
        write_credentials(servers, credentials, "secret")
    file = directory / "mosquitto.conf"
    file.write_text(
        f"listener {port} 127.0.0.1\n"
        f"plugin {servers.dynamic_security_plugin}\n"
        f"plugin_opt_config_file {credentials}\n"
        f"persistence true\npersistence_location {directory}/\n{extra}"
    )
    return file


def publish(servers: Servers, port: int, password: str) -> int:
    login = ["-p", str(port), "-u", "admin", "-P", password]
    message = ["-q", "1", "-t", "$CONTROL/dynamic-security/v1", "-m", '{"commands": []}']
    return run_program(servers.mosquitto_pub, *login, *message).returncode


async def test_clients_connect_with_the_dynamic_security_plugin(servers: Servers, directory: Path) -> None:
    port = free_port()
    configuration = write_configuration(servers, directory / "broker", port)
    async with MosquittoServer(servers, configuration, port, directory / "log"):
        assert publish(servers, port, "secret") == 0
        assert publish(servers, port, "wrong") != 0
    assert is_free(port)


async def test_stop_saves_what_is_persistent(servers: Servers, directory: Path) -> None:
    port = free_port()
    configuration = write_configuration(servers, directory / "broker", port)
    async with MosquittoServer(servers, configuration, port, directory / "log"):
        pass
    assert (directory / "broker/mosquitto.db").exists()


async def test_restart_takes_up_rewritten_credentials(servers: Servers, directory: Path) -> None:
    port = free_port()
    configuration = write_configuration(servers, directory / "broker", port)
    async with MosquittoServer(servers, configuration, port, directory / "log") as broker:
        credentials = directory / "broker/dynamic-security.json"
        credentials.unlink()
        write_credentials(servers, credentials, "changed")
        await broker.restart()
        assert publish(servers, port, "changed") == 0
        assert publish(servers, port, "secret") != 0


async def test_reload_keeps_the_broker_running(servers: Servers, directory: Path) -> None:
    port = free_port()
    configuration = write_configuration(servers, directory / "broker", port)
    async with MosquittoServer(servers, configuration, port, directory / "log") as broker:
        broker.reload()
        assert publish(servers, port, "secret") == 0


async def test_wrong_configuration_is_quoted(servers: Servers, directory: Path) -> None:
    port = free_port()
    configuration = write_configuration(servers, directory / "broker", port, "no_such_option 1\n")
    with pytest.raises(StackError, match="no_such_option"):
        await MosquittoServer(servers, configuration, port, directory / "log").start()


async def test_taken_port_is_named(servers: Servers, directory: Path) -> None:
    port = free_port()
    configuration = write_configuration(servers, directory / "broker", port)
    async with MosquittoServer(servers, configuration, port, directory / "log"):
        with pytest.raises(StackError, match=rf"Port {port}.*taken by .*\(pid"):
            await MosquittoServer(servers, configuration, port, directory / "log").start()


async def test_strange_directories_are_not_lent(servers: Servers, directory: Path) -> None:
    (directory / "etc").mkdir()
    (directory / "etc/mosquitto.conf").write_text("")
    with pytest.raises(StackError, match="left alone"):
        await MosquittoServer(
            servers, directory / "etc/mosquitto.conf", free_port(), directory / "log"
        ).start()
