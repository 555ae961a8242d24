"""``ingest --workers``: several workers as child processes, each started again when it ends."""

from __future__ import annotations

import asyncio
import os
import pathlib
import sys
from signal import SIGTERM

import structlog

from cli.probes import answers_ok
from cli.settings import Settings
from cli.supervisor import Supervisor, Worker
from stack.ports import require_free
from stack.process import Program

# A worker answers before it reaches broker and database: it waits for them itself, and /readyz says so.
_ALIVE_WITHIN = 30.0
_STOP_WITHIN = 40.0
log = structlog.get_logger("ingest.workers")


def _worker(settings: Settings, number: int, port: int) -> Worker:
    name = f"worker {number}"
    environment = {
        **os.environ,
        "ALATAU_DATA_DIR": str(settings.root),
        "ALATAU_INGEST_PORT": str(port),
    }
    argv = [sys.executable, "-P", "-m", "cli", "ingest", "--worker", str(number)]
    # With us gone, however that came about, it drains and ends.
    program = Program(name, argv, None, SIGTERM, cwd=pathlib.Path.cwd(), env=environment)
    probe = answers_ok(port, "/healthz", settings.ingest_host)
    return Worker(program, probe, ready_within=_ALIVE_WITHIN, stop_within=_STOP_WITHIN)


async def run_workers(settings: Settings, first: int, workers: int, stop: asyncio.Event) -> None:
    """Run workers ``first`` … until ``stop``; then all of them drain at the same time. Raises StackError.

    Worker ``first + n`` has the status port ``ALATAU_INGEST_PORT + n``.
    """
    for port in range(settings.ingest_port, settings.ingest_port + workers):
        require_free(port, f"the status of one of {workers} workers (ALATAU_INGEST_PORT + n)")
    # One supervisor for each, because one stops its parts one after the other.
    supervisors = [Supervisor(_say) for _ in range(workers)]
    try:
        for n, supervisor in enumerate(supervisors):
            if not stop.is_set():
                await supervisor.start(_worker(settings, first + n, settings.ingest_port + n))
        log.info("workers run", workers=workers, status_ports=f"from {settings.ingest_port} on")
        await stop.wait()
        log.info("stopping; the workers drain what has arrived")
    finally:
        await asyncio.gather(*(supervisor.stop() for supervisor in supervisors))


def _say(text: str) -> None:
    log.warning(text)
