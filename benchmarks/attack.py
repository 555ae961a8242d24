"""A hostile one, in a process of its own, at a rate that a device on a real network could have.

    python -m benchmarks.attack flood --port 1883 --name bench-hostile    (its secret, or key, is in the environment)

It goes on until its input ends, and then says how often it did it and how often it was refused.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import mqtt5

from api.contract import PREFIX
from sensors.topics import Channel, Topics

SECRET_VARIABLE = "ALATAU_ATTACK_SECRET"  # noqa: S105 - the name of a variable
# Of some 120 bytes each, 2 Mbit/s: what a device has on a good mobile network.
MESSAGES_A_SECOND = 2000
# Of these every hundredth is large, 20 a second: 10 Mbit/s.
LARGE_BYTES = 60_000
# As many as a device that is not tired of it opens, each with its own handshake.
CONNECTIONS_A_SECOND = 100
QUESTIONS_AT_ONCE = 8
_TICKS = 100  # a second
_QUESTIONS = (
    "readings?kind=air_quality&start=-PT1H&end=PT0S&format=csv",
    "series?metric=pm2_5&group_by=device&step=PT1M&start=-PT1H",
    "series?metric=pm2_5&group_by=district&step=PT1M&start=-P3D",
)


def _connect(port: int, name: str, secret: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 10)
    packet = mqtt5.ConnectPacket(name, username=name, password=secret.encode(), clean_start=True)
    connection.sendall(packet.write())
    connection.recv(1024)
    return connection


def _valid(number: int) -> bytes:
    stamp = time.time_ns() // 1_000_000 + number % 20
    return f'{{"ts":{stamp},"temperature":{number % 30}.5,"humidity":{number % 100}}}'.encode()


def _malformed(number: int) -> bytes:
    if number % 100 == 0:
        return b"[" * LARGE_BYTES
    return (b'{"humidity": 12.5', b"\xff\xfe\x00" * 30, b'{"ts":"x","humidity":"' + b"9" * 80 + b'"}', b"")[
        number % 4
    ]


def _publish(
    port: int, name: str, secret: str, payload: Callable[[int], bytes], over: threading.Event
) -> Counter[str]:
    """Publish at a rate; a connection that the broker closes is opened again."""
    topic, numbers, counts = Topics().of(name, Channel.TELEMETRY), itertools.count(), Counter[str]()
    while not over.is_set():
        with contextlib.suppress(OSError), _connect(port, name, secret) as connection:
            began = time.perf_counter()
            for tick in itertools.count():
                if over.wait(max(0.0, began + tick / _TICKS - time.perf_counter())):
                    break
                connection.sendall(b"".join(_packets(topic, payload, numbers)))
                counts["done"] += MESSAGES_A_SECOND // _TICKS
                while select.select([connection], [], [], 0)[0]:
                    if not connection.recv(65_536):
                        raise ConnectionResetError
        counts["refused"] += not over.wait(1 / _TICKS)
    return counts


def _packets(topic: str, payload: Callable[[int], bytes], numbers: Iterator[int]) -> Iterator[bytes]:
    for number in itertools.islice(numbers, MESSAGES_A_SECOND // _TICKS):
        packet_id = number % 65_535 + 1
        yield mqtt5.PublishPacket(
            topic, payload(number), qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id
        ).write()


def _connect_in_vain(port: int, name: str, over: threading.Event) -> Counter[str]:
    """Open connections that say nothing, nonsense, or a wrong secret, and leave each."""
    first, counts = (b"", b"GET / HTTP/1.1\r\n\r\n", None), Counter[str]()
    began = time.perf_counter()
    for number in itertools.count():
        if over.wait(max(0.0, began + number / CONNECTIONS_A_SECOND - time.perf_counter())):
            break
        counts["done"] += 1
        with contextlib.suppress(OSError):
            said = first[number % len(first)]
            if said is None:
                _connect(port, name, "wrong").close()
            else:
                with socket.create_connection(("127.0.0.1", port), 10) as connection:
                    connection.sendall(said)
    return counts


def _ask(port: int, key: str, over: threading.Event) -> Counter[str]:
    """Ask one expensive question after the other, on as many connections as a key may have under way."""
    counts = Counter[str]()

    def ask() -> None:
        for question in itertools.cycle(_QUESTIONS):
            if over.is_set():
                return
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
                connection.request("GET", f"{PREFIX}/{question}", headers={"X-API-Key": key})
                answer = connection.getresponse()
                answer.read()
                counts["done" if answer.status == http.HTTPStatus.OK else "refused"] += 1

    askers = [threading.Thread(target=ask) for _ in range(QUESTIONS_AT_ONCE)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    return counts


def _wait_for_end(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def main() -> None:
    """Parse the command line and attack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("attack", choices=("flood", "malformed", "connections", "queries"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", default="bench-hostile")
    asked, secret, over = parser.parse_args(), os.environ[SECRET_VARIABLE], threading.Event()
    threading.Thread(target=_wait_for_end, args=(over,), daemon=True).start()
    print("ready", flush=True)
    if asked.attack == "queries":
        counts = _ask(asked.port, secret, over)
    elif asked.attack == "connections":
        counts = _connect_in_vain(asked.port, asked.name, over)
    else:
        payload = _valid if asked.attack == "flood" else _malformed
        counts = _publish(asked.port, asked.name, secret, payload, over)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
