"""``ingest --status``: what it asks, what it makes of it, and what it says when nobody answers."""

from __future__ import annotations

import asyncio
import math

import orjson
import pytest
from rich.console import Console

from broker.accounts import Service
from cli.ingest import status_of
from cli.ingest_status import Scrape, find_workers, quantile, summarise
from cli.ingest_table import render
from cli.local import LocalStack
from cli.settings import Settings
from cli.status import status_server
from ingest.metrics import IngestMetrics
from ingest.options import IngestOptions
from ingest.service import Ingest
from ingest.session import SessionOptions
from sensors.checks import Reason
from stack.errors import StackError
from stack.ports import free_port
from tests.cli.command import Alatau
from tests.conftest import Database


@pytest.mark.parametrize(
    ("buckets", "part", "expected"),
    [
        ({0.1: 0, 0.2: 100, math.inf: 100}, 0.5, 0.15),
        ({0.1: 50, 0.2: 100, math.inf: 100}, 0.5, 0.1),
        ({0.1: 50, 0.2: 100, math.inf: 100}, 0.95, 0.19),
        ({0.1: 0, 0.2: 0, math.inf: 7}, 0.95, 0.2),  # beyond the last bound nothing is known
        ({0.1: 0, math.inf: 0}, 0.5, None),
        ({}, 0.5, None),
    ],
)
def test_a_quantile_is_linear_within_its_bucket(
    buckets: dict[float, float], part: float, expected: float | None
) -> None:
    assert quantile(buckets, part) == (None if expected is None else pytest.approx(expected))


def test_no_ingest_is_an_error_that_says_what_to_do(bare: Alatau) -> None:
    port = str(free_port())
    result = bare("ingest", "--status", ALATAU_INGEST_PORT=port)
    assert result.code == 1
    assert f"No ingest answers at http://127.0.0.1:{port}" in result.errors
    assert "alatau up" in result.errors
    assert "ALATAU_INGEST_PORT" in result.errors


def test_what_belongs_to_the_status_is_refused_without_it(bare: Alatau) -> None:
    assert bare("ingest", "--json").code == 2


@pytest.fixture
def ingest(local_stack: LocalStack, database: Database) -> Ingest:
    session = SessionOptions(
        "127.0.0.1",
        local_stack.ports.mqtt,
        Service.INGEST,
        local_stack.secrets.services[Service.INGEST],
        client_id="ingest-status",
    )
    return Ingest(IngestOptions(database.ingest_url, session, share="ingest-status"))


async def test_a_running_worker_is_shown_to_people_and_programs(ingest: Ingest, bare: Alatau) -> None:
    port, stop = free_port(), asyncio.Event()
    server = status_server(status_of(ingest), "127.0.0.1", port)
    task = asyncio.create_task(ingest.run(stop), name="test.ingest")
    status = asyncio.create_task(server.serve(), name="test.status")
    try:
        async with asyncio.timeout(15):
            while not ingest.readiness().is_ready:  # noqa: ASYNC110 - readiness is a question
                await asyncio.sleep(0.02)
        settings = {"ALATAU_INGEST_PORT": str(port)}
        shown = await asyncio.to_thread(bare, "ingest", "--status", **settings)
        told = await asyncio.to_thread(bare, "ingest", "--status", "--json", "--workers", "2", **settings)
    finally:
        stop.set()
        server.should_exit = True
        await asyncio.gather(task, status)
    assert shown.code == told.code == 0
    assert "● ingest-status receiving; " in shown.out
    assert "broker connected" in shown.out
    document = orjson.loads(told.out)
    first, second = document["workers"]
    assert (first["worker"], first["status"], first["ready"]) == ("ingest-status", "receiving", True)
    assert first["broker"]["connected"]
    assert first["database"] == {"available": True, "commit_retries": 0}
    assert second == {"place": f"http://127.0.0.1:{port + 1 if port else 0}", "answers": False}
    assert document["all"]["memory_bytes"] == first["memory_bytes"] > 2**20


# -- numbers ----------------------------------------------------------------------------------------


def _scrape(metrics: IngestMetrics, at: float, worker: str) -> Scrape:
    samples = {
        (sample.name, sample.labels.get("reason") or sample.labels.get("le") or ""): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }
    ready = {"worker": worker, "ready": True, "status": "receiving", "state": "receiving"}
    return Scrape(at, ready, samples)


def test_two_workers_are_summed_and_a_silent_one_is_said() -> None:
    metrics = [IngestMetrics(), IngestMetrics()]
    for one, count in zip(metrics, (1000, 500), strict=True):
        one.received.inc(count)
        one.broker_up.set(1)
        one.backlog.set(700)
    before = [_scrape(one, 10.0, f"w{n}") for n, one in enumerate(metrics)]
    metrics[0].received.inc(600)
    metrics[0].commit_seconds.observe(0.2)
    metrics[1].dead_letters.labels(Reason.UNDECODABLE.value).inc(30)
    metrics[1].backlog.set(math.nan)
    after = [_scrape(one, 12.0, f"w{n}") for n, one in enumerate(metrics)]
    observed = summarise(["a", "b", "c"], [*before, None], [*after, None])
    together = observed["all"]
    assert together["received"] == {"total": 2100, "rate": 300.0}
    assert together["dead_letters"]["by_reason"] == {"undecodable": {"total": 30, "rate": 15.0}}
    assert together["broker"] == {"connected": True, "backlog": 700, "connections": 0, "sessions_lost": 0}
    assert not together["database"]["available"]
    assert observed["workers"][0]["commit_seconds"]["p50"] == pytest.approx(0.175)
    assert observed["workers"][2] == {"place": "c", "answers": False}
    console = Console(width=120, record=True)
    with console.capture() as captured:
        console.print(render(observed))
    text = captured.get()
    assert "c  no answer" in text
    for words in ("w0", "w1", "all", "undecodable", "2,100", "300/s", "unknown", "away"):
        assert words in text


def test_a_port_of_something_else_is_no_worker() -> None:
    """Whatever listens there, and whatever it answers."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n{}")
        writer.close()

    async def ask() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            settings = Settings(ingest_port=server.sockets[0].getsockname()[1])
            with pytest.raises(StackError, match="No ingest answers"):
                await asyncio.to_thread(find_workers, settings, 1)

    asyncio.run(ask())
