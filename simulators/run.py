"""Runs a simulated city: history first if asked for, then live until stopped."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.topics import Channel
from simulators.city import City
from simulators.connection import Account
from simulators.errors import SimulatorError
from simulators.options import Clock, Progress, SimulateOptions
from simulators.outgoing import TruthLog
from simulators.publisher import Publisher
from simulators.simulation import Report, Simulation

SecretOf = Callable[[str], str]


def run(
    options: SimulateOptions,
    catalogue: Catalogue,
    fleet: Sequence[DeviceSpec],
    report: Report,
    stop: threading.Event,
    *,
    secret_of: SecretOf | None = None,
    clock: Clock = Clock(),  # noqa: B008 - frozen, stateless
    rng: random.Random | None = None,
) -> Progress:
    """Simulate until ``stop`` is set or a limit of the options is reached; returns the last progress.

    Blocks in the caller's thread and calls ``report`` about once a second in it. When it returns, every
    message has been acknowledged or the drain timeout has passed, and the connections are closed.
    ``secret_of`` gives a device's secret and is needed with ``per_device``. Raises SimulatorError.
    """
    devices = fleet[: options.devices] if options.devices is not None else fleet
    if not devices:
        raise SimulatorError("there is no device to simulate; register some, or plan a fleet")
    rng = rng or random.Random()  # noqa: S311 - names connections and spreads reconnects, no secret
    truth = TruthLog(options.truth)
    try:
        publisher = Publisher(
            options.broker,
            accounts_of(options, devices, secret_of, rng),
            window=options.window,
            rng=rng,
            monotonic=clock.monotonic,
        )
        city = City(catalogue, devices, options.seed)
        topics = [options.topics.of(device.id, Channel.TELEMETRY) for device in devices]
        return Simulation(options, city, topics, publisher, truth, report, stop, clock).run()
    finally:
        truth.close()


def accounts_of(
    options: SimulateOptions, fleet: Sequence[DeviceSpec], secret_of: SecretOf | None, rng: random.Random
) -> list[Account]:
    """Return one account for each device, or the gateway's as often as it shall connect."""
    status = Channel.STATUS
    if options.per_device:
        if secret_of is None:
            raise SimulatorError("a connection for each device needs the devices' secrets")
        return [Account(d.id, d.id, secret_of(d.id), options.topics.of(d.id, status)) for d in fleet]
    # Two simulators may share an account, but two connections of one client id would throw each other out.
    name, token = options.username or "simulator", f"{rng.getrandbits(32):08x}"
    topic = options.topics.of(name, status)
    return [
        Account(f"{name}-{token}-{number}", options.username, options.password, None if number else topic)
        for number in range(max(1, min(options.connections, len(fleet))))
    ]
