"""A Sparkplug edge node of another project's making, run as a program with what it needs beside it on its path."""

import sys
import time

from pysparkplug import Client, DataType, Device, EdgeNode, Metric  # type: ignore[import-not-found]


def main() -> None:
    """Be born with one device, which then says a second value; go when standard input ends."""
    port, client_id, username, password, value = sys.argv[1:]
    now = int(time.time() * 1000)

    def temperature(of: float, at: int) -> Metric:
        return Metric(timestamp=at, name="temperature", datatype=DataType.DOUBLE, value=of)

    node = EdgeNode("city", "node", [], Client(client_id=client_id, username=username, password=password))
    node.register(Device("roof", [temperature(0.0, now - 1000)]))
    node.connect("127.0.0.1", port=int(port))
    while not node._connected:
        time.sleep(0.01)
    node.update_device("roof", [temperature(float(value), now)])
    sys.stdin.read()
    node.disconnect()


main()
