"""A process's edge: signals, logs, the event loop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable

import prometheus_client
import structlog
import uvloop

from cli.repetition import Repetition

# One line a minute of the same incident.
_REPEATED_AFTER_SECONDS = 60.0


def configure_logs() -> None:
    """Write one line an event to standard error: for people on a terminal, JSON elsewhere."""
    for_people = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            Repetition(_REPEATED_AFTER_SECONDS, time.monotonic),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # With its line's end in one write: workers share what they write to.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Libraries()], force=True)


class _Libraries(logging.Handler):
    """Writes what libraries log as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; what a library tries again by itself needs no traceback."""
        about: dict[str, object] = {"logger": record.name}
        if record.exc_info and record.levelno < logging.ERROR:
            about["error"] = str(record.exc_info[1])
        elif record.exc_info:
            about["exc_info"] = record.exc_info
        structlog.get_logger().log(record.levelno, record.getMessage(), **about)


def configure_metrics() -> None:
    """Leave the ``_created`` series out, which would double what Prometheus stores."""
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


def run_until_stopped(
    work: Callable[[asyncio.Event], Awaitable[None]],
    new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
) -> None:
    """Run ``work`` until it ends; SIGINT or SIGTERM sets its event, a second one ends the process at once,
    with 130 or 143.

    Ending at once loses nothing: what is not acknowledged is the broker's, what is not committed not ours.
    """

    async def supervised() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def on_signal(number: signal.Signals) -> None:
            if stop.is_set():
                os._exit(128 + number)  # as a shell says of a program that a signal ended
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal, number)
        await work(stop)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(supervised())


def collect_seldom() -> None:
    """Let the collector of cycles run less often.

    What lives as long as the process need not be looked at again by each of its rounds, and what is made for a batch
    or an answer has no cycles. Its rounds were a quarter of the time of decoding, and doubled that of one large
    answer in twenty.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
