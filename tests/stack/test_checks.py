import socket
from pathlib import Path

import pytest

from stack.checks import Check, run_checks
from stack.timezones import knows_almaty_2024


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_whatever_is_not_ok_says_what_to_do(directory: Path) -> None:
    env = {
        "PATH": "/nowhere",
        "ALATAU_CACHE_DIR": str(directory / "cache"),
        "ALATAU_DEBIAN_MIRROR": f"file:{directory}/no-mirror",
    }
    checks = run_checks(env, directory / "data")
    assert all(check.remedy for check in checks if check.state != "ok")
    assert all(check.found for check in checks)
    found = by_name(checks)
    assert found["python"].state == "ok"
    assert found["time zones of Python"].state == "ok"


def test_unreachable_mirror_is_a_problem_only_where_it_is_needed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.checks.find_servers", lambda *_arguments, **_options: None)
    env = {"ALATAU_CACHE_DIR": str(directory), "ALATAU_DEBIAN_MIRROR": f"file:{directory}/no-mirror"}
    found = by_name(run_checks(env, directory / "data"))
    assert found["package mirror"].state == "problem"
    assert found["servers"].state == "warning"
    assert "disk for the servers" in found


def test_taken_ports_are_found(directory: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        env = {"ALATAU_CACHE_DIR": str(directory), "ALATAU_DEBIAN_MIRROR": f"file:{directory}/no-mirror"}
        found = by_name(run_checks(env, directory / "data", {"the API": port}))
    check = found[f"port {port} (the API)"]
    assert check.state == "problem"
    assert "pid" in check.found


def test_missing_or_damaged_time_zone_data_is_noticed(tmp_path: Path) -> None:
    assert not knows_almaty_2024(tmp_path)
    (tmp_path / "Asia").mkdir()
    (tmp_path / "Asia/Almaty").write_bytes(b"not a zone")
    assert not knows_almaty_2024(tmp_path)
