import ipaddress
import socket

import pytest

from stack.addresses import is_loopback, reached_at


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_only_this_machine_reaches_the_loopback_addresses(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "", "192.0.2.1", "city", "localhost.city", "::ffff:192.0.2.1"],  # noqa: S104
)
def test_every_other_address_may_be_one_of_a_network(host: str) -> None:
    assert not is_loopback(host)


def test_an_address_is_reached_as_it_is_and_all_of_them_by_those_of_the_machine() -> None:
    assert reached_at("192.0.2.1") == ["192.0.2.1"]
    *addresses, name = reached_at("0.0.0.0")  # noqa: S104
    assert name == socket.gethostname()
    assert not any(ipaddress.ip_address(address).is_unspecified for address in addresses)
    assert reached_at("") == reached_at("::") == [*addresses, name]
