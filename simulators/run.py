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
from simulators.delivery import AcknowledgedDelivery, Delivery, Level, StoredDelivery
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
        delivery = _delivery(options, devices, publisher, clock)
        return Simulation(options, city, delivery, publisher, truth, report, stop, clock).run()
    finally:
        truth.close()


def _delivery(
    options: SimulateOptions, fleet: Sequence[DeviceSpec], publisher: Publisher, clock: Clock
) -> Delivery:
    telemetry, stored = (
        [options.topics.of(device.id, channel) for device in fleet]
        for channel in (Channel.TELEMETRY, Channel.STORED)
    )
    if options.delivery is Level.ACKNOWLEDGED:
        return AcknowledgedDelivery(publisher, telemetry)
    return StoredDelivery(publisher, telemetry, stored, clock.now, clock.monotonic)


def accounts_of(
    options: SimulateOptions, fleet: Sequence[DeviceSpec], secret_of: SecretOf | None, rng: random.Random
) -> list[Account]:
    """Return one account for each device, or the gateway's as often as it shall connect."""
    of, hears = options.topics.of, options.delivery is Level.STORED
    if options.per_device:
        if secret_of is None:
            raise SimulatorError("a connection for each device needs the devices' secrets")
        return [
            Account(
                d.id,
                d.id,
                secret_of(d.id),
                of(d.id, Channel.STATUS),
                of(d.id, Channel.STORED) if hears else None,
            )
            for d in fleet
        ]
    # Two simulators may share an account, but two connections of one client id would throw each other out.
    name, token = options.username or "simulator", f"{rng.getrandbits(32):08x}"
    # A gateway is no device: it has no status. Its first connection hears the receipts of all.
    receipts = options.topics.every(Channel.STORED) if hears else None
    first = Account(f"{name}-{token}-0", options.username, options.password, receipts=receipts)
    others = range(1, min(options.connections, len(fleet)))
    return [first, *(Account(f"{name}-{token}-{n}", options.username, options.password) for n in others)]
