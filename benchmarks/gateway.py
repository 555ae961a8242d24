"""A publisher that comes back: what has no promise is kept and sent again, and everything goes into a ledger.

    python -m benchmarks.gateway PLAN    (JSON of a Plan; the password is in the environment)

It does the publisher's part of the contract, in a process of its own that outlives every other. Without receipts
a reading is done when the broker has acknowledged it; with receipts when the platform says that it is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import sys
import time
from collections.abc import AsyncIterator

import mqtt5
import uvloop

from benchmarks.counted import Counted
from benchmarks.ledger import Event, LedgerWriter
from sensors.topics import Channel, Topics

PASSWORD_VARIABLE = "ALATAU_GATEWAY_PASSWORD"  # noqa: S105 - the name of a variable
_IDS = 65_535
_PAUSE = 0.1  # between attempts to connect, s
_TICK = 0.02
_ANSWER_TIMEOUT = 10.0
_ARRAY = 50  # readings in one message, when several of a device are sent again
_NO_SUBSCRIBERS = 0x10


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What to publish, how fast (readings/s), and where; ``patience`` (s) is how long a receipt may take."""

    load: Counted
    port: int
    username: str
    ledger: str
    rate: float
    window: int = 5000
    receipts: bool = False
    patience: float = 5.0

    def as_json(self) -> str:
        """Return it for the command line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Return the plan of a command line."""
        said = json.loads(text)
        return cls(**{**said, "load": Counted(**said["load"])})


class Connection(asyncio.Protocol):
    """One connection: packet ids are its own. ``messages`` of a packet are numbers of readings."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._tail = b""
        self._next_id = 0
        self.unacknowledged: dict[int, list[int]] = {}
        self.is_open = asyncio.Event()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves: the session is new, and what had no promise is published again."""
        self._transport = transport  # type: ignore[assignment]
        plan = self._gateway.plan
        self._write(
            mqtt5.ConnectPacket(
                f"gateway-{os.getpid()}",
                username=plan.username,
                password=os.environ[PASSWORD_VARIABLE].encode(),
                clean_start=True,
                keep_alive=10,
            ).write()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits."""
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        """Take acknowledgements and receipts."""
        buffer, position = memoryview(self._tail + data), 0
        while position < len(buffer):
            try:
                packet, size = mqtt5.read(buffer[position:])
            except IndexError:
                break
            position += size
            self._take(packet)
        self._tail = bytes(buffer[position:])

    def _take(self, packet: object) -> None:
        if isinstance(packet, mqtt5.PubAckPacket):
            self._gateway.acknowledged(self.unacknowledged.pop(packet.packet_id), int(packet.reason_code))
        elif isinstance(packet, mqtt5.PublishPacket):
            self._gateway.receipt(packet.topic, bytes(packet.payload))
            if packet.packet_id is not None:
                self._write(mqtt5.PubAckPacket(packet.packet_id).write())
        elif isinstance(packet, mqtt5.ConnAckPacket):
            if packet.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
                self.abort()
            elif self._gateway.plan.receipts:
                stored = Topics().every(Channel.STORED)
                self._write(
                    mqtt5.SubscribePacket(
                        1, [mqtt5.TopicFilter(stored, max_qos=mqtt5.QoS.AT_LEAST_ONCE)]
                    ).write()
                )
            else:
                self.is_open.set()
        elif isinstance(packet, mqtt5.SubAckPacket):
            if max(map(int, packet.reason_codes)) >= 0x80:
                raise RuntimeError("the broker refuses the subscription to the receipts")
            self.is_open.set()
        elif isinstance(packet, mqtt5.DisconnectPacket):
            self.abort()

    @property
    def has_room(self) -> bool:
        """Whether another message fits into the window."""
        return len(self.unacknowledged) < self._gateway.plan.window

    def publish(self, topic: str, payload: bytes, numbers: list[int]) -> None:
        """Send a message at QoS 1. The window keeps packet ids from being in use twice."""
        self._next_id = self._next_id % _IDS + 1
        while self._next_id in self.unacknowledged:
            self._next_id = self._next_id % _IDS + 1
        self.unacknowledged[self._next_id] = numbers
        packet = mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=self._next_id)
        self._write(packet.write())

    def ping(self) -> None:
        """Show that we live."""
        self._write(mqtt5.PingReqPacket().write())

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()


class Gateway:
    """Keeps what has no promise, by number of the reading and when it was last sent."""

    def __init__(self, plan: Plan, ledger: LedgerWriter) -> None:
        self.plan = plan
        self._ledger = ledger
        self._topics = [Topics().of(name, Channel.TELEMETRY) for name in plan.load.device_names()]
        self._index = {name: number for number, name in enumerate(plan.load.device_names())}
        self._through = [0] * plan.load.devices
        self._waiting: dict[int, float] = {}  # the longest silent first
        self._next = 0
        self._end = plan.load.count
        self._began: float | None = None
        self.counts = {
            "sent": 0,
            "acknowledged": 0,
            "unheard": 0,
            "refused": 0,
            "stored": 0,
            "connections": 0,
        }

    def stop(self) -> None:
        """Begin no more readings; what was begun is seen to its end."""
        self._end = min(self._end, self._next)

    @property
    def is_done(self) -> bool:
        """Whether everything was sent and has its promise."""
        return self._next >= self._end and not self._waiting

    def acknowledged(self, numbers: list[int], reason: int) -> None:
        """Note what the broker's PUBACK says of the readings of one message."""
        event = Event.ACKNOWLEDGED
        if reason == _NO_SUBSCRIBERS:
            event = Event.UNHEARD
        elif reason >= 0x80:
            event = Event.REFUSED
        self._ledger.note(event, numbers)
        self.counts[event.name.lower()] += len(numbers)
        if not self.plan.receipts:
            for number in numbers:
                self._waiting.pop(number, None)

    def receipt(self, topic: str, payload: bytes) -> None:
        """Note that a device's readings are stored, up to one."""
        device = self._index.get(topic.split("/")[-2])
        if device is None:
            return
        through, devices = int(json.loads(payload)["through"]), self.plan.load.devices
        stored = [turn * devices + device for turn in range(self._through[device], through)]
        self._through[device] = max(through, self._through[device])
        self._ledger.note(Event.STORED, stored)
        self.counts["stored"] += len(stored)
        for number in stored:
            self._waiting.pop(number, None)

    async def run(self) -> None:
        """Publish everything, over as many connections as it takes."""
        while not self.is_done:
            connection = await self._connect()
            if connection is None:
                await asyncio.sleep(_PAUSE)
                continue
            self.counts["connections"] += 1
            try:
                await self._feed(connection)
            finally:
                connection.abort()
                self._ledger.sync()

    async def _connect(self) -> Connection | None:
        loop, connection = asyncio.get_running_loop(), Connection(self)
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                await loop.create_connection(lambda: connection, "127.0.0.1", self.plan.port)
                waiting = [
                    asyncio.ensure_future(event.wait()) for event in (connection.is_open, connection.lost)
                ]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for future in waiting:
                    future.cancel()
        except (OSError, TimeoutError):
            connection.abort()
            return None
        return connection if connection.is_open.is_set() and not connection.lost.is_set() else None

    async def _feed(self, connection: Connection) -> None:
        again, pinged, last = sorted(self._waiting), time.monotonic(), time.monotonic()
        while not connection.lost.is_set() and not self.is_done:
            now = time.monotonic()
            if not again and self.plan.receipts:
                again = self._overdue(now)
            again = self._send_again(connection, again, now)
            if not again:
                self._send_new(connection, now)
            if now - pinged > 3:
                connection.ping()
                pinged = now
            if now - last > 0.2:
                print(json.dumps(self.counts), flush=True)
                last = now
            self._ledger.sync()
            await asyncio.sleep(_TICK)

    def _overdue(self, now: float) -> list[int]:
        overdue = []
        for number, sent in self._waiting.items():
            if now - sent < self.plan.patience:
                break
            overdue.append(number)
        return overdue

    def _send_again(self, connection: Connection, numbers: list[int], now: float) -> list[int]:
        """Send again what fits into the window, several readings of a device in one message; return the rest."""
        by_device: dict[int, list[int]] = {}
        for number in numbers:
            if number in self._waiting:
                by_device.setdefault(number % self.plan.load.devices, []).append(number)
        rest: list[int] = []
        for mine in by_device.values():
            for first in range(0, len(mine), _ARRAY):
                part = mine[first : first + _ARRAY]
                if connection.has_room:
                    self._publish(connection, part, now)
                else:
                    rest += part
        return rest

    def _send_new(self, connection: Connection, now: float) -> None:
        if self._began is None:
            self._began = now
        due = min(self._end, int((now - self._began) * self.plan.rate))
        while self._next < due and connection.has_room:
            self._publish(connection, [self._next], now)
            self._next += 1
            self.counts["sent"] += 1

    def _publish(self, connection: Connection, numbers: list[int], now: float) -> None:
        for number in numbers:
            self._waiting.pop(number, None)
            self._waiting[number] = now
        self._ledger.note(Event.SENT, numbers)
        topic = self._topics[numbers[0] % self.plan.load.devices]
        connection.publish(topic, self.plan.load.payload(numbers), numbers)


async def _publish(plan: Plan) -> None:
    loop = asyncio.get_running_loop()
    with LedgerWriter(pathlib.Path(plan.ledger)) as ledger:
        gateway = Gateway(plan, ledger)

        def on_input() -> None:
            # A line, or the end of the input: whoever started us wants to see the end, or is gone.
            sys.stdin.readline()
            gateway.stop()
            loop.remove_reader(sys.stdin.fileno())

        loop.add_reader(sys.stdin.fileno(), on_input)
        print("ready", flush=True)
        await gateway.run()
    print(json.dumps(gateway.counts), flush=True)


class Publishing:
    """A gateway's process. ``counts`` are those it said last."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._reading = asyncio.create_task(self._read(), name="gateway.counts")
        self.counts: dict[str, int] = {}

    async def _read(self) -> None:
        if self._process.stdout is not None:
            async for line in self._process.stdout:
                self.counts = json.loads(line)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    def stop(self) -> None:
        """Have it begin no more readings."""
        if self._process.stdin is not None:
            self._process.stdin.write(b"stop\n")

    async def result(self) -> dict[str, int]:
        """Wait until everything begun has its promise; return the counts."""
        await self._reading
        if await self._process.wait():
            raise RuntimeError("the gateway failed")
        return self.counts

    async def close(self) -> None:
        """End the process, whatever it is doing."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await self._reading


@contextlib.asynccontextmanager
async def publishing(plan: Plan, password: str) -> AsyncIterator[Publishing]:
    """Publish from a process of its own, which has begun when the block does and is gone when it ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.gateway",
        plan.as_json(),
        cwd=pathlib.Path(__file__).parents[1],
        env={**os.environ, PASSWORD_VARIABLE: password},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdout is None or await process.stdout.readline() != b"ready\n":
        raise RuntimeError("the gateway did not start")
    gateway = Publishing(process)
    try:
        yield gateway
    finally:
        await gateway.close()


if __name__ == "__main__":
    uvloop.run(_publish(Plan.from_json(sys.argv[1])))
