"""Who answers questions gives way to who stores readings, where both share processors.

Linux divides processors among sessions first (``sched(7)``, autogroup), and by niceness only within one; each process
of PostgreSQL leads a session of its own. So four expensive questions at once weigh as much as four services, whatever
their niceness: the session's has to be set too.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import asyncpg
import structlog

from storage.database import client_port

log = structlog.get_logger("api.niceness")

_PROCESSES = Path("/proc")
_TRIES, _PAUSE_SECONDS = 20, 0.1


def give_way(niceness: int) -> None:
    """Lower this process and the threads that it is yet to start: 0 changes nothing, 19 takes what nobody wants.

    Its session is lowered where it leads it, as a service does; a shell's is left alone.
    """
    if niceness:
        _lower(os.getpid(), niceness, leads_session=os.getsid(0) == os.getpid())


async def make_give_way(connection: asyncpg.Connection, niceness: int) -> bool:
    """Lower the server's process of a connection; return whether it is on this machine and ours to lower."""
    if not niceness:
        return False
    process, port = connection.get_server_pid(), await client_port(connection)
    # The number may be of another machine, or container: only its title, with our port in it, says that it is ours.
    if port is None or f"({port}) " not in _title(process):
        return False
    try:
        await asyncio.to_thread(_lower, process, niceness, leads_session=True)
    except OSError as error:
        log.debug("database process not lowered", error=str(error))
        return False
    return True


def _title(process: int) -> str:
    try:
        title = (
            (_PROCESSES / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        return ""
    return f"{title} " if title.startswith("postgres: ") else ""


def _lower(process: int, niceness: int, *, leads_session: bool) -> None:
    # Nobody but root may take back what an earlier start, or who started us, has lowered further.
    os.setpriority(os.PRIO_PROCESS, process, max(niceness, os.getpriority(os.PRIO_PROCESS, process)))
    autogroup = _PROCESSES / str(process) / "autogroup"  # not there in kernels without it
    if not leads_session or not autogroup.exists():
        return
    for tries_left in reversed(range(_TRIES)):
        try:
            autogroup.write_text(str(niceness))
            return
        except BlockingIOError:  # of those without privileges the kernel hears ten a second, the machine over
            if not tries_left:
                raise
            time.sleep(_PAUSE_SECONDS)
