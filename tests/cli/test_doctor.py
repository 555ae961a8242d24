"""``doctor`` and ``down``: what is found, what to do, and what is never deleted."""

from __future__ import annotations

import pathlib
import socket

import pytest

from cli.locking import only_one
from stack.ports import free_port
from tests.base_maps import protomaps
from tests.cli.command import Alatau

pytestmark = pytest.mark.servers


@pytest.fixture
def ports() -> dict[str, str]:
    names = ("DATABASE", "MQTT", "MQTTS", "API", "INGEST")
    return {f"ALATAU_{name}_PORT": str(free_port()) for name in names}


def test_a_machine_that_has_everything_is_ready(alatau: Alatau, ports: dict[str, str]) -> None:
    result = alatau("doctor", **ports)
    assert result.code == 0, result.out
    assert "Community edition" in result.out or "Apache-2 edition" in result.out
    assert result.out.endswith("Ready for ./alatau up")


def test_a_taken_port_is_a_problem_with_its_remedy(bare: Alatau, ports: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = bare("doctor", **{**ports, "ALATAU_API_PORT": port})
    assert result.code == 1
    assert "taken by" in result.out
    assert "→ " in result.out
    assert "1 problems" in result.out


def test_a_database_that_is_away_is_a_problem_with_its_remedy(bare: Alatau, ports: dict[str, str]) -> None:
    result = bare("doctor", ALATAU_DATABASE_URL=f"postgresql://u:p@127.0.0.1:{free_port()}/x", **ports)
    assert result.code == 1
    assert "→ start it, or correct ALATAU_DATABASE_URL" in result.out


def test_a_certificate_that_is_of_no_use_is_a_problem_with_its_remedy(
    bare: Alatau, ports: dict[str, str]
) -> None:
    assert bare("pki", "server").code == 0
    server = f"{bare.settings['ALATAU_DATA_DIR']}/pki/server.pem"
    authority = f"{bare.settings['ALATAU_DATA_DIR']}/pki/ca.pem"
    assert "✓ certificate until " in bare("doctor", **ports).out
    result = bare("doctor", ALATAU_TLS_CERTIFICATE=authority, ALATAU_TLS_KEY=server, **ports)
    assert result.code == 1
    assert "do not belong together. Give the key that it was made for." in result.out


def test_a_base_map_that_can_not_be_drawn_is_told_of_and_stops_nothing(
    bare: Alatau, ports: dict[str, str], tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "city.pmtiles"
    file.write_bytes(b"PMTiles\x02")
    result = bare("doctor", ALATAU_MAP_TILES=str(file), **ports)
    assert "is not a PMTiles archive of version 3" in result.out
    assert "→ set ALATAU_MAP_TILES to a vector base map" in result.out
    file.write_bytes(protomaps(77.0, 43.6))
    assert "layers of protomaps" in bare("doctor", ALATAU_MAP_TILES=str(file), **ports).out


def test_a_running_city_is_not_removed(bare: Alatau) -> None:
    root = pathlib.Path(bare.settings["ALATAU_DATA_DIR"])
    with only_one(root):
        assert bare("down").code == 1
        assert "the city is running" in bare("down", "--purge", "--yes").errors


def test_a_directory_without_our_marks_is_not_removed(bare: Alatau, tmp_path: pathlib.Path) -> None:
    root = pathlib.Path(bare.settings["ALATAU_DATA_DIR"])
    root.mkdir()
    (root / "theirs").write_text("precious")
    # Another cache, because a purge also removes the provisioned servers.
    assert bare("down", "--purge", "--yes", ALATAU_CACHE_DIR=str(tmp_path / "cache")).code == 0
    assert (root / "theirs").read_text() == "precious"


def test_a_purge_asks_first(bare: Alatau, tmp_path: pathlib.Path) -> None:
    root = pathlib.Path(bare.settings["ALATAU_DATA_DIR"])
    root.mkdir()
    (root / "secrets.json").write_text("{}")
    assert bare("down", "--purge", stdin="n\n", ALATAU_CACHE_DIR=str(tmp_path / "cache")).code == 1
    assert root.exists()
    assert bare("down", "--purge", stdin="y\n", ALATAU_CACHE_DIR=str(tmp_path / "cache")).code == 0
    assert not root.exists()
