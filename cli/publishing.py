"""``publish``: readings from standard input, each kept in a file until the platform has stored it."""

from __future__ import annotations

import json
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cli.connections import broker_ca, broker_url, stack_environment
from cli.console import answers, errors
from cli.settings import Settings, SettingsError, load_settings
from sensors.topics import DEVICE_ID, Topics
from simulators.connection import Broker
from simulators.errors import BrokerError, SimulatorError
from simulators.journal import Journal
from simulators.reference import StoredPublisher

_KEEPS = 100_000
_LOOK_SECONDS = 0.25


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Services")(publish)


def publish(
    device: Annotated[
        str | None, typer.Option(help="Its id; else ALATAU_DEVICE_ID, else the sample device of `up`.")
    ] = None,
    spool: Annotated[
        pathlib.Path | None,
        typer.Option(help="File that keeps the readings; else one for each device in the data directory."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Give up after so many seconds in which nothing was stored.")
    ] = None,
) -> None:
    """Publish readings, one JSON object a line from standard input, and return when all are stored.

    A line has the metrics and, if it is not of now, its time: {"ts": 1795341600, "pm2_5": 12.5}. Exit code 0 only
    when each has its receipt and no refusal was told. Whatever is killed meanwhile, this command included: the
    readings stay in the spool, and the next run sends them first. The device's secret is read from
    ALATAU_DEVICE_SECRET, its user name from ALATAU_DEVICE_USER, if it has another one than its id.

    [dim]Examples:[/]
      echo '{"pm2_5": 12.5}' | alatau publish
      alatau publish --device air-9 < readings.ndjson
      ./read-sensor | alatau publish --device air-9 --spool /var/lib/air-9.spool
    """
    settings = load_settings()
    name, secret = _account(settings, device)
    path = spool or settings.root / "spools" / name
    refusals: list[str] = []

    def on_refusal(text: str) -> None:
        refusals.append(text)
        errors.print(f"refused: {text}", markup=False, soft_wrap=True)

    broker, topics = Broker.at(broker_url(settings), broker_ca(settings)), Topics(settings.topic_root)
    with (
        Journal(path, _KEEPS) as journal,
        StoredPublisher(
            broker,
            name,
            secret,
            journal,
            username=settings.device_user,
            topics=topics,
            on_refusal=on_refusal,
        ) as publisher,
    ):
        if publisher.waiting:
            errors.print(f"readings of an earlier run, sent first: {publisher.waiting:,}")
        try:
            unread = _publish_lines(publisher, timeout)
            _wait(publisher, timeout, left=0)
        except KeyboardInterrupt:
            errors.print(f"\n{_kept(publisher, path)}", markup=False, soft_wrap=True)
            raise
        except SimulatorError as error:
            raise type(error)(f"{error}; {_kept(publisher, path)}") from error
    counts = publisher.counts
    again = f", sent again: {counts.resent:,}" if counts.resent else ""
    answers.print(f"readings stored: {counts.stored:,}{again}")
    if unread:
        raise SimulatorError(f"lines that were no readings: {unread:,}; mend these and publish them alone")
    if refusals:
        raise SimulatorError("not all were taken; see what came of them with: alatau dead-letters list")


def _account(settings: Settings, device: str | None) -> tuple[str, str]:
    """Return the device's id and secret. Raises SettingsError when there are none."""
    local = stack_environment(settings)
    name = device or settings.device_id or local.get("ALATAU_DEVICE_ID")
    if not name:
        raise SettingsError("which device? Give --device ID, or set ALATAU_DEVICE_ID")
    if not DEVICE_ID.fullmatch(name):
        raise SettingsError(
            f'"{name}" is no device id: 1 to 64 letters, digits, ".", "_", ":", "-", a letter or digit first'
        )
    secret = settings.device_secret
    if secret is None and name == local.get("ALATAU_DEVICE_ID"):
        secret = local.get("ALATAU_DEVICE_SECRET")
    if not secret:
        raise SettingsError(
            f"set ALATAU_DEVICE_SECRET to the secret of {name}; a new one: alatau device secret {name}"
        )
    return name, secret


def _publish_lines(publisher: StoredPublisher, timeout: float | None) -> int:
    """Publish every line of standard input; return how many were no readings, each of which was told."""
    unread = 0
    if sys.stdin.isatty():
        errors.print("One JSON object a line; Ctrl-D ends.")
    now = 0.0
    for number, line in enumerate(_lines(), 1):
        # What comes in faster than it is stored waits outside: nothing is dropped here.
        _wait(publisher, timeout, left=_KEEPS - 1)
        try:
            # Two readings of one time would be one.
            now = max(round(time.time(), 3), round(now + 0.001, 3))
            publisher.publish(*_reading(line, now))
        except ValueError as error:
            unread += 1
            errors.print(f"line {number}: {error}", markup=False, soft_wrap=True)
    return unread


def _lines() -> Iterator[str]:
    for line in sys.stdin:
        if line.strip():
            yield line


def _reading(line: str, now: float) -> tuple[dict[str, Any], float | str]:
    """Return a line's metrics and time, which is ``now`` where it states none. ValueError says what is wrong."""
    try:
        reading = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(reading, dict):
        raise ValueError('not an object such as {"pm2_5": 12.5}')
    if "seq" in reading:
        raise ValueError('"seq" is given by this command; leave it out')
    ts = reading.pop("ts", now)
    if not isinstance(ts, (int, float, str)):
        raise ValueError('"ts" is neither a number nor a text')
    values = reading.pop("values", reading)
    if not isinstance(values, dict) or (reading and values is not reading):
        raise ValueError('"values" is an object with all metrics of the reading')
    return values, ts


def _wait(publisher: StoredPublisher, timeout: float | None, left: int) -> None:
    """Wait until at most ``left`` readings wait for their receipt. Raises SimulatorError when that is hopeless."""
    before, since = publisher.waiting, time.monotonic()
    while not publisher.wait_stored(_LOOK_SECONDS, left):
        counts, now = publisher.counts, time.monotonic()
        if errors.is_terminal:
            line = f"published {counts.published:>9,}   stored {counts.stored:>9,}   {publisher.problem}"
            errors.print(f"{line:<100}", end="\r", markup=False)
        if publisher.is_refused:
            raise BrokerError(
                f"the broker does not let the device in: {publisher.problem}; check ALATAU_DEVICE_SECRET"
            )
        if publisher.waiting < before:
            before, since = publisher.waiting, now
        elif timeout is not None and now - since > timeout:
            why = publisher.problem or "no receipt came; is ingest running?"
            raise SimulatorError(f"nothing was stored for {timeout:g} s: {why}")


def _kept(publisher: StoredPublisher, path: pathlib.Path) -> str:
    return f"readings not stored yet: {publisher.waiting:,}; they stay in {path} and the next run sends them"
