"""Whatever a network does to one of ingest's two links, nothing is lost and nothing is doubled."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Awaitable, Callable

import pytest

import ingest.commit
import ingest.latest
import ingest.session
from benchmarks.proxy import Proxy, proxy
from ingest.service import Ingest
from tests.ingest.conftest import Rig
from tests.ingest.counting import counted, expect_clean, finish, linked, published

Fault = Callable[[Rig, Ingest, Proxy], Awaitable[None]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead link is found in a second instead of half a minute; nothing else differs."""
    monkeypatch.setattr(ingest.session, "_KEEP_ALIVE_SECONDS", 2)
    monkeypatch.setattr(ingest.session, "_ANSWER_TIMEOUT", 1.0)
    monkeypatch.setattr(ingest.commit, "_DEADLINE_SECONDS", 1.0)
    monkeypatch.setattr(ingest.latest, "_DEADLINE_SECONDS", 1.0)


async def _more(rig: Rig, worker: Ingest, messages: int = 1000) -> None:
    """Wait until so many more messages were acknowledged."""
    seen = worker.metrics.acknowledged._value.get()
    await rig.until(lambda: worker.metrics.acknowledged._value.get() >= seen + messages)


async def _cuts(rig: Rig, worker: Ingest, link: Proxy) -> None:
    for _ in range(4):
        await _more(rig, worker, 500)
        assert link.cut()


async def _resets_in_mid_packet(rig: Rig, worker: Ingest, link: Proxy) -> None:
    for size in (1, 3, 150, 1001):
        resets = link.resets
        link.cut_in_mid_packet(size)
        await rig.until(lambda before=resets: link.resets > before)  # type: ignore[misc]
        await _more(rig, worker, 200)


async def _delays(rig: Rig, worker: Ingest, link: Proxy) -> None:
    link.delay = 0.01
    await _more(rig, worker)
    link.restore()


async def _trickles(rig: Rig, worker: Ingest, link: Proxy) -> None:
    """One byte a second, so that answers take longer than the worker waits for one."""
    await _more(rig, worker, 500)
    link.bytes_per_second = 1
    await asyncio.sleep(2)
    link.restore()
    await _more(rig, worker)


async def _silence(rig: Rig, worker: Ingest, link: Proxy) -> None:
    """The link stays half open for ever: neither side is told, and new ones come to stand after a while."""
    link.silence()
    await rig.until(lambda: not worker.readiness()[0])
    link.restore()
    await _more(rig, worker)


async def _refusals(rig: Rig, worker: Ingest, link: Proxy) -> None:
    await link.refuse()
    link.cut()
    await rig.until(lambda: not worker.readiness()[0])
    await link.accept()
    await _more(rig, worker)


FAULTS: list[Fault] = [_cuts, _resets_in_mid_packet, _delays, _trickles, _silence, _refusals]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
async def test_broker_link_that_fails_loses_and_doubles_nothing(
    rig: Rig, tmp_path: pathlib.Path, fault: Fault
) -> None:
    load, ledger = counted(200_000, faulty_every=100), tmp_path / "ledger"
    async with (
        proxy(rig.stack.ports.mqtt) as link,
        rig.worker(linked(rig, mqtt_port=link.port)) as worker,
        published(rig, load, ledger) as gateway,
    ):
        await fault(rig, worker, link)
        await finish(gateway)
        await expect_clean(rig, load, ledger)
        assert worker.metrics.sessions_lost._value.get() == 0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
async def test_database_link_that_fails_loses_and_doubles_nothing(
    rig: Rig, tmp_path: pathlib.Path, fault: Fault
) -> None:
    load, ledger = counted(200_000, faulty_every=100), tmp_path / "ledger"
    async with (
        proxy(rig.stack.ports.database) as link,
        rig.worker(linked(rig, database=link.port)) as worker,
        published(rig, load, ledger) as gateway,
    ):
        await fault(rig, worker, link)
        await finish(gateway)
        await expect_clean(rig, load, ledger)


async def test_commit_whose_answer_is_cut_off_stores_readings_and_letters_once(
    rig: Rig, tmp_path: pathlib.Path
) -> None:
    """The transaction has committed, and ingest can't know: it stores the same again."""
    load, ledger = counted(200_000, faulty_every=10), tmp_path / "ledger"
    async with (
        proxy(rig.stack.ports.database) as link,
        rig.worker(linked(rig, database=link.port, latest_interval_seconds=60.0)) as worker,
        published(rig, load, ledger) as gateway,
    ):
        for cut in range(1, 6):
            link.cut_answer_to(b"COMMIT")
            await rig.until(lambda expected=cut: link.answers_cut >= expected)  # type: ignore[misc]
            await _more(rig, worker, 200)
        await finish(gateway)
        await expect_clean(rig, load, ledger)
        assert worker.metrics.duplicate._value.get() > 0, "something was stored again"
