"""PostgreSQL's settings, sized for the machine."""

import os
from collections.abc import Mapping
from pathlib import Path

MEGABYTE = 1 << 20
GIGABYTE = 1 << 30

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def machine_memory() -> int:
    """Return the bytes of memory that this machine, or the container around us, has."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _CGROUP_LIMITS:
        try:
            memory = min(memory, int(file.read_text()))
        except (OSError, ValueError):
            continue
    return memory


def settings(*, memory: int, port: int, shared_memory: int, wal_compression: str) -> dict[str, str]:
    """Return what alatau.conf says, for `memory` and `shared_memory` (the size of /dev/shm) in bytes."""
    return {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        # A socket's path is limited to 107 bytes, and the data directory may lie deeper.
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
        "max_connections": "100",
        "shared_preload_libraries": "timescaledb",
        "timescaledb.telemetry_level": "off",
        "timescaledb.max_background_workers": "4",
        "max_worker_processes": "16",
        # A query over months locks every chunk it plans for.
        "max_locks_per_transaction": "512",
        "shared_buffers": _megabytes(min(2 * GIGABYTE, memory // 8)),
        "effective_cache_size": _megabytes(memory // 2),
        "work_mem": _megabytes(min(32 * MEGABYTE, max(4 * MEGABYTE, memory // 512))),
        "maintenance_work_mem": _megabytes(min(512 * MEGABYTE, memory // 16)),
        # Containers have 64 MB of it by default, too little for one parallel query.
        "dynamic_shared_memory_type": "posix" if shared_memory >= 256 * MEGABYTE else "mmap",
        "fsync": "on",
        "synchronous_commit": "on",
        "wal_compression": wal_compression,
        "max_wal_size": _megabytes(min(4 * GIGABYTE, max(GIGABYTE, memory // 8))),
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "logging_collector": "off",
        "log_destination": "stderr",
    }


def render(values: Mapping[str, str]) -> str:
    """Return `values` as a PostgreSQL configuration file."""
    head = "# Written at each start: change postgresql.conf below its include line instead.\n"
    return head + "".join(f"{name} = '{_quote(value)}'\n" for name, value in values.items())


def _quote(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _megabytes(size: int) -> str:
    return f"{size // MEGABYTE}MB"
