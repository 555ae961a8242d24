"""The instruments of these tests: a ledger that finds what is wrong, and links that break as they are told."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import pathlib

import pytest

from benchmarks.counted import Counted
from benchmarks.ledger import Event, LedgerWriter, compare, read_ledger
from benchmarks.proxy import proxy
from sensors.kinds import DeviceSpec
from storage.devices import register_devices
from tests.ingest.conftest import Rig
from tests.ingest.counting import counted


def _write(path: pathlib.Path, **events: list[int]) -> None:
    with LedgerWriter(path) as ledger:
        for event, numbers in events.items():
            ledger.note(Event[event.upper()], numbers)


def test_what_was_noted_is_read_and_a_torn_end_is_not(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "ledger"
    _write(path, sent=[3, 1, 2, 7], acknowledged=[2])
    _write(path, acknowledged=[7])
    with path.open("ab") as file:
        file.write(b"\x02\x00\x00")
    ledger = read_ledger(path, 10)
    assert ledger.numbers(Event.SENT).tolist() == [1, 2, 3, 7]
    assert ledger.numbers(Event.ACKNOWLEDGED).tolist() == [2, 7]


def test_a_counted_reading_says_which_it_is() -> None:
    load = Counted("counted", devices=3, count=100, start=1000, step=5, faulty_every=10, numbered=True)
    assert json.loads(load.payload([6])) == {"pm2_5": 0.02, "temperature": 6, "seq": 3, "ts": 1010}
    assert json.loads(load.payload([4])) == {"pm2_5": 0.01, "temperature": 4, "seq": 2}
    assert isinstance(json.loads(load.payload([9]))["pm2_5"], str), "faulty on purpose"
    assert [said["seq"] for said in json.loads(load.payload([0, 3, 6]))] == [1, 2, 3]


async def test_the_comparison_finds_what_is_lost_doubled_and_never_sent(
    rig: Rig, tmp_path: pathlib.Path
) -> None:
    load, path = counted(8, devices=1), tmp_path / "ledger"
    (name,) = load.device_names()
    number = await register_devices(rig.connection, [DeviceSpec(name, "air_quality", "gate")], rig.catalogue)
    now = dt.datetime.now(dt.UTC)
    stored = [0, 1, 1, 4, 6, 90]  # 1 twice; 2 is lost; 3 was not acknowledged; 6 and 90 were never sent
    await rig.connection.executemany(
        "INSERT INTO reading.air_quality (time, received_at, device_id, pm2_5) VALUES ($1, $1, $2, $3)",
        [(now - dt.timedelta(seconds=s), number[name], turn / 100) for s, turn in enumerate(stored)],
    )
    _write(path, sent=[0, 1, 2, 3, 4], acknowledged=[0, 1, 2, 4])
    verdict = await compare(rig.connection, load, read_ledger(path, load.count))
    assert (verdict.lost, verdict.doubled, verdict.invented) == (1, 1, 2)
    assert verdict.lost_numbers.tolist() == [2]
    assert not verdict.is_clean


async def test_a_link_breaks_as_it_is_told() -> None:
    heard: list[bytes] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            heard.append(data)
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, proxy(server.sockets[0].getsockname()[1]) as link:
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        link.cut_in_mid_packet(2)
        writer.write(b"hello")
        assert await reader.readexactly(2) == b"he"
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()

        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        link.cut_answer_to(b"COMMIT")
        writer.write(b"COMMIT")
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        assert heard[-1] == b"COMMIT", "the server heard it"
        writer.close()

        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        link.silence()
        writer.write(b"anybody?")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        assert heard[-1] == b"COMMIT"
        writer.close()

        await link.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", link.port)
