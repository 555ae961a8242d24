"""TCP ports of this machine, of the loopback interface unless an address is given."""

import asyncio
import errno
import os
import socket
from pathlib import Path

from stack.errors import StackError

LOOPBACK = "127.0.0.1"
_LISTEN = "0A"


def free_port() -> int:
    """Return a port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_free(port: int, address: str = LOOPBACK) -> bool:
    """Tell whether a server could listen on `port` of `address`; raises StackError if that is not of this machine."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        # As servers do: a connection that lingers in TIME_WAIT does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except socket.gaierror as error:
            raise _not_ours(address) from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise _not_ours(address) from error
            return False
    return True


def _not_ours(address: str) -> StackError:
    return StackError(
        f'"{address}" is no address of this machine.', "Give one that `ip address` lists, or 0.0.0.0 for all."
    )


def require_free(port: int, purpose: str, address: str = LOOPBACK) -> None:
    """Raise StackError, naming who has it, if `port` of `address` is taken, or `address` is not of this machine."""
    if is_free(port, address):
        return
    holder = who_listens(port)
    raise StackError(
        f"Port {port}, meant for {purpose}, is taken" + (f" by {holder}." if holder else "."),
        "Stop what listens there, or choose another port.",
    )


def who_listens(port: int) -> str | None:
    """Return the name and pid of the process that listens on `port`, None if that cannot be seen."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    return next((name for pid in _pids() if (name := _holder(pid, inodes))), None)


async def accepts_connections(port: int) -> bool:
    """Tell whether something accepts TCP connections on `port`."""
    try:
        _reader, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        return False
    return True


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _holder(pid: int, inodes: set[str]) -> str | None:
    try:
        with os.scandir(f"/proc/{pid}/fd") as descriptors:
            # Sockets are links to names that are no paths, so reading them is all one can do.
            if any(_link(entry) in inodes for entry in descriptors):
                return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})"
    except OSError:
        return None
    return None


def _link(entry: os.DirEntry[str]) -> str:
    try:
        return str(Path(entry.path).readlink())
    except OSError:
        return ""
