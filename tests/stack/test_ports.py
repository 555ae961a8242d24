import os
import socket
from collections.abc import Iterator

import pytest

from stack.errors import StackError
from stack.ports import accepts_connections, free_port, is_free, require_free, who_listens


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_free_port_is_free() -> None:
    port = free_port()
    assert is_free(port)
    require_free(port, "the test")
    assert who_listens(port) is None


async def test_taken_port_is_explained(listener: int) -> None:
    assert not is_free(listener)
    assert await accepts_connections(listener)
    holder = who_listens(listener)
    assert holder is not None
    assert f"(pid {os.getpid()})" in holder
    with pytest.raises(StackError) as caught:
        require_free(listener, "the broker")
    assert str(listener) in caught.value.message
    assert holder in caught.value.message
    assert "another port" in caught.value.remedy


async def test_nobody_answers_on_a_free_port() -> None:
    assert not await accepts_connections(free_port())


def test_a_port_is_free_by_address_and_one_of_another_machine_is_told(listener: int) -> None:
    assert is_free(listener, "127.0.0.2")
    for address in ("192.0.2.77", "no address"):
        with pytest.raises(StackError, match=f'"{address}" is no address of this machine'):
            require_free(listener, "the broker", address)
