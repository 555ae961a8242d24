"""What a simulation is asked to do, and what it reports while it does."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import pathlib
import time
from collections.abc import Callable, Mapping

from sensors.topics import Topics
from simulators.connection import Broker
from simulators.delivery import Level
from simulators.faults import Fault


class Phase(enum.StrEnum):
    """What the simulation is doing."""

    CONNECTING = "connecting"
    HISTORY = "history"
    LIVE = "live"
    STOPPED = "stopped"


@dataclasses.dataclass(frozen=True, slots=True)
class SimulateOptions:
    """A simulation. Times are seconds unless they are timedeltas.

    ``devices`` takes only the first so many of the fleet. ``rate`` is readings/s of the whole city, devices
    in turn; None lets each device keep its own interval. ``speed`` above 1 replays ``history`` (24 hours if
    not given) as single readings, so many times faster than real time, until it reaches the present.
    ``history`` at speed 1 is sent first, as arrays, at ``history_step`` if given. ``duration`` (of the live
    part) and ``count`` (readings of the live part) end the run; without them it goes on until it is stopped.
    ``delivery`` is the level that the devices keep to; stored needs a platform that publishes receipts.
    """

    url: str
    username: str | None = None
    password: str | None = None
    topics: Topics = dataclasses.field(default_factory=Topics)
    tls_ca: pathlib.Path | None = None
    devices: int | None = None
    rate: float | None = None
    speed: float = 1.0
    seed: int = 1
    faults: Mapping[Fault, float] = dataclasses.field(default_factory=dict)
    truth: pathlib.Path | None = None
    connections: int = 1
    per_device: bool = False
    delivery: Level = Level.ACKNOWLEDGED
    window: int = 2000
    history: dt.timedelta | None = None
    history_step: dt.timedelta | None = None
    duration: float | None = None
    count: int | None = None
    connect_timeout: float = 15.0
    drain_timeout: float = 10.0

    @property
    def broker(self) -> Broker:
        """The broker that the URL names; SimulatorError says what is wrong with it."""
        return Broker.at(self.url, self.tls_ca)


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """The state of a simulation; messages are counted as on the wire, readings as in the city.

    ``fraction`` is the share of the history that has been sent; ``skipped`` readings were never sent because
    the broker did not keep up with ``rate``; ``behind`` is how many seconds of the city are still to be sent.
    At the stored level, ``stored`` readings have been named by a receipt, ``waiting`` ones not yet; ``resent``
    counts each repetition, ``dropped`` what a full spool gave up.
    """

    phase: Phase
    fraction: float
    published: int
    acknowledged: int
    refused: int
    in_flight: int
    readings: int
    per_second: float
    faults: int
    skipped: int
    reconnects: int
    connected: int
    behind: float
    refusals: Mapping[str, int]
    stored: int
    waiting: int
    resent: int
    dropped: int


@dataclasses.dataclass(frozen=True, slots=True)
class Clock:
    """Time, passed in: ``now`` in Unix µs, ``monotonic`` in seconds."""

    now: Callable[[], int] = lambda: time.time_ns() // 1000
    monotonic: Callable[[], float] = time.monotonic
