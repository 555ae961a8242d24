"""A broker that only acknowledges, on the codec: what the load generator can do where nothing holds it back.

python -m benchmarks.sink --port 1883
"""

from __future__ import annotations

import argparse
import asyncio

import mqtt5
import uvloop

_ACCEPTED = mqtt5.ConnAckPacket().write()
_ACKNOWLEDGED = b"\x40\x02"  # PUBACK, two bytes follow: the packet id


class Sink(asyncio.Protocol):
    """Answers one publisher."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Answer everything of one read with one write."""
        buffer, position, answers = memoryview(self._tail + data), 0, []
        while position < len(buffer):
            try:
                packet, size = mqtt5.read(buffer[position:])
            except IndexError:  # the packet's end is still to come
                break
            position += size
            if isinstance(packet, mqtt5.PublishPacket):
                answers.append(_ACKNOWLEDGED + (packet.packet_id or 0).to_bytes(2))
            elif isinstance(packet, mqtt5.ConnectPacket):
                answers.append(_ACCEPTED)
        self._tail = bytes(buffer[position:])
        if self._transport is not None:
            self._transport.write(b"".join(answers))


async def serve(port: int) -> None:
    """Listen until the process ends."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
