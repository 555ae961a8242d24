"""A process's edge: signals, logs, the event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import prometheus_client
import structlog
import uvloop


def configure_logs() -> None:
    """Write one line an event to standard error: for people on a terminal, JSON elsewhere."""
    for_people = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def configure_metrics() -> None:
    """Leave the ``_created`` series out, which would double what Prometheus stores."""
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


def run_until_stopped(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run ``work`` until it ends; SIGINT or SIGTERM sets its event, a second one ends the process at once.

    Ending at once loses nothing: what is not acknowledged is the broker's, what is not committed not ours.
    """

    async def supervised() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def on_signal() -> None:
            if stop.is_set():
                os._exit(130)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal)
        await work(stop)

    uvloop.run(supervised())
