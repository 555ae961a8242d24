"""``export``: a whole file or none, whatever breaks meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import gzip
import pathlib
import re
import select
import signal
import socket
import threading
import urllib.parse
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pyarrow as pa
import pyarrow.parquet
import pytest

from sensors.catalogue import Catalogue
from tests.cli.analysts import READINGS, analysts_city
from tests.cli.command import Alatau, start
from tests.conftest import Database

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
async def settings(
    database: Database, catalogue: Catalogue, directory: pathlib.Path
) -> AsyncIterator[dict[str, str]]:
    async with analysts_city(database, catalogue, directory) as settings:
        yield settings


@pytest.fixture
def alatau(settings: dict[str, str], tmp_path: pathlib.Path) -> Alatau:
    return Alatau({**settings, "ALATAU_DATA_DIR": str(tmp_path / "data")})


def names_in(directory: pathlib.Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def number_of(text: str) -> str:
    match = re.search(r"alatau export --id (\d+) ", text)
    assert match, text
    return match[1]


def test_a_parquet_file_has_all_readings(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "air.parquet"
    result = alatau("export", "air_quality", "--start", "-PT2H", "-o", str(path))
    assert result.code == 0, result.errors
    assert result.out.startswith(f"{READINGS} readings, ")
    assert result.out.endswith(str(path))
    assert pa.parquet.read_table(path).num_rows == READINGS
    assert names_in(tmp_path) == ["air.parquet"]


def test_a_csv_file_has_those_of_a_district(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "air.csv.gz"
    result = alatau(
        "export", "air_quality", "--district", "gate", "--format", "csv.gz", "--output", str(path)
    )
    assert result.code == 0, result.errors
    with gzip.open(path, "rt", newline="") as file:
        assert {line["device"] for line in csv.DictReader(file)} == {"air-1"}


@pytest.mark.parametrize(
    ("where", "device"),
    [
        (["--bbox", "76.9,43.4,77.1,43.6"], "air-1"),
        (["--near", "77.0,43.48,500"], "air-1"),
        (["--polygon", "76.9,43.4 77.1,43.4 77.0,43.6"], "air-1"),
        (["--tag", "pole:7"], "air-2"),
    ],
    ids=["bbox", "near", "polygon", "tag"],
)
def test_a_file_has_those_of_a_place_or_a_tag(
    alatau: Alatau, tmp_path: pathlib.Path, where: list[str], device: str
) -> None:
    path = tmp_path / "air.parquet"
    result = alatau("export", "air_quality", "-o", str(path), *where)
    assert result.code == 0, result.errors
    assert set(pa.parquet.read_table(path).column("device").to_pylist()) == {device}


def test_a_file_that_is_there_is_kept(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "air.parquet"
    path.write_text("dear to me")
    result = alatau("export", "air_quality", "-o", str(path))
    assert result.code == 1
    assert "--overwrite" in result.errors
    assert path.read_text() == "dear to me"
    assert alatau("export", "air_quality", "-o", str(path), "--overwrite").code == 0
    assert pa.parquet.read_table(path).num_rows == READINGS


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["air_qualty"], 1, 'did you mean "air_quality"'),
        (["air_quality", "--device", "air-9"], 1, "did you mean"),
        (["air_quality", "--near", "77.0,43.48"], 1, "not 3 numbers"),
        (["--id", "999999"], 1, "there is no export 999999"),
        ([], 2, "--id"),
        (["air_quality", "--id", "1"], 2, "--id"),
    ],
)
def test_what_can_not_be_exported_is_said(
    alatau: Alatau, tmp_path: pathlib.Path, arguments: list[str], code: int, said: str
) -> None:
    result = alatau("export", *arguments, "-o", str(tmp_path / "x"))
    assert result.code == code
    assert said in result.errors


def test_a_folder_that_is_not_there_is_said(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    result = alatau("export", "air_quality", "-o", str(tmp_path / "none/air.parquet"))
    assert result.code == 1
    assert "No such file or directory. Go on with: alatau export --id" in result.errors


# -- a link that breaks -----------------------------------------------------------------------------


class Breaking:
    """A link to the API that cuts the answers with files after so many bytes, one after the other."""

    def __init__(self, url: str, bytes_of_each: list[int]) -> None:
        target = urllib.parse.urlsplit(url)
        self._target = (target.hostname or "", target.port or 80)
        self._bytes_of_each = bytes_of_each
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, name="test.breaking")
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, socket.create_connection(self._target) as api, contextlib.suppress(OSError):
                    self._pass_on(client, api)

    def _pass_on(self, client: socket.socket, api: socket.socket) -> None:
        """Pass on what one connection says, until either side ends it or it is cut."""
        left: int | None = None
        while True:
            for ready in select.select([client, api], [], [])[0]:
                piece = ready.recv(65536)
                if ready is client:
                    api.sendall(piece)
                    if b"/file HTTP" in piece:
                        left = self._bytes_of_each.pop(0) if self._bytes_of_each else None
                else:
                    client.sendall(piece if left is None else piece[:left])
                    left = None if left is None else left - len(piece)
                if not piece or (left is not None and left < 0):
                    return

    def close(self) -> None:
        # Closing alone does not wake who waits in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@contextlib.contextmanager
def breaking(url: str, *bytes_of_each: int) -> Iterator[str]:
    link = Breaking(url, list(bytes_of_each))
    try:
        yield link.url
    finally:
        link.close()


def test_a_download_that_breaks_goes_on_where_it_was(
    alatau: Alatau, settings: dict[str, str], tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "air.parquet"
    with breaking(settings["ALATAU_API_URL"], 0, 1500, 2000) as url:
        result = alatau("export", "air_quality", "-o", str(path), ALATAU_API_URL=url)
    assert result.code == 0, result.errors
    assert pa.parquet.read_table(path).num_rows == READINGS
    assert names_in(tmp_path) == ["air.parquet"]


def test_a_link_that_stays_broken_is_given_up_and_the_next_run_goes_on(
    alatau: Alatau, settings: dict[str, str], tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "air.parquet"
    with breaking(settings["ALATAU_API_URL"], 1500, 0, 0, 0, 0, 0, 0) as url:
        result = alatau("export", "air_quality", "-o", str(path), ALATAU_API_URL=url)
    assert result.code == 1
    number = number_of(result.errors)
    (partial,) = tmp_path.iterdir()
    assert partial.name.endswith(".partial")
    before = partial.read_bytes()
    assert before
    result = alatau("export", "--id", number, "-o", str(path))
    assert result.code == 0, result.errors
    assert path.read_bytes().startswith(before)
    assert pa.parquet.read_table(path).num_rows == READINGS


def test_a_file_that_is_not_what_was_made_is_not_kept(
    alatau: Alatau, tmp_path: pathlib.Path, directory: pathlib.Path
) -> None:
    first = alatau("export", "air_quality", "-o", str(tmp_path / "first.parquet"))
    assert first.code == 0
    newest = max(directory.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    number = re.findall(r"\d+", newest.name)[0]
    content = newest.read_bytes()
    newest.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    result = alatau("export", "--id", number, "-o", str(tmp_path / "second.parquet"))
    assert result.code == 1
    assert "is not what was made" in result.errors
    assert names_in(tmp_path) == ["first.parquet"]


async def test_a_command_that_is_interrupted_says_how_to_go_on(
    alatau: Alatau, database: Database, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "air.parquet"
    connection = await asyncpg.connect(database.owner_url)
    transaction = connection.transaction()
    await transaction.start()
    # The file can't be made meanwhile.
    await connection.execute("LOCK TABLE reading.air_quality IN ACCESS EXCLUSIVE MODE")
    process = start("export", "air_quality", "-o", str(path), **alatau.settings)
    try:
        assert process.stderr is not None
        begun = await asyncio.to_thread(process.stderr.readline)
        assert b"is being made" in begun
        process.send_signal(signal.SIGINT)
        _, told = await asyncio.to_thread(process.communicate, timeout=10)
    finally:
        process.kill()
        process.wait()
        await transaction.rollback()
        await connection.close()
    assert process.returncode == 130
    assert names_in(tmp_path) == []
    assert alatau("export", "--id", number_of(told.decode()), "-o", str(path)).code == 0
    assert pa.parquet.read_table(path).num_rows == READINGS
