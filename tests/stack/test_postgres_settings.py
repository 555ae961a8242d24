import pytest

from stack.postgres_settings import GIGABYTE, MEGABYTE, machine_memory, render, settings


def values(memory: int, shared_memory: int = GIGABYTE) -> dict[str, str]:
    return settings(memory=memory, port=5432, shared_memory=shared_memory, wal_compression="lz4")


@pytest.mark.parametrize(
    ("memory", "shared_buffers", "work_mem"),
    [(512 * MEGABYTE, "64MB", "4MB"), (8 * GIGABYTE, "1024MB", "16MB"), (256 * GIGABYTE, "2048MB", "32MB")],
)
def test_memory_is_taken_modestly(memory: int, shared_buffers: str, work_mem: str) -> None:
    assert values(memory)["shared_buffers"] == shared_buffers
    assert values(memory)["work_mem"] == work_mem


def test_nothing_committed_is_lost() -> None:
    assert values(GIGABYTE)["fsync"] == "on"
    assert values(GIGABYTE)["synchronous_commit"] == "on"


def test_small_shared_memory_of_a_container_is_avoided() -> None:
    assert values(GIGABYTE, 64 * MEGABYTE)["dynamic_shared_memory_type"] == "mmap"


def test_values_are_quoted() -> None:
    assert "name = 'it''s'\n" in render({"name": "it's"})


def test_this_machine_has_memory() -> None:
    assert machine_memory() > 64 * MEGABYTE
