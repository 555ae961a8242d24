"""Which destinations are valid, and which addresses a webhook may lead to."""

from __future__ import annotations

import base64
import dataclasses
import ipaddress
import re
from typing import Any

import pytest

from alerts.delivery import Allowance, DeliveryOptions, wait_after
from sensors.destinations import (
    Destination,
    DestinationError,
    DestinationType,
    check_destination,
    generate_webhook_secret,
    webhook_key,
)
from sensors.networks import is_reachable, parse_networks

WEBHOOK = Destination("hook", DestinationType.WEBHOOK, url="https://example.org/alerts")
MAIL = Destination("mail", DestinationType.EMAIL, recipients=("duty@example.org",))


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "8.8.8.8"])
def test_an_address_of_the_internet_is_reachable(address: str) -> None:
    assert is_reachable(ipaddress.ip_address(address), ())


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "192.0.0.8", "198.18.0.1", "224.0.0.1", "239.1.1.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fd00::1", "fc00::1", "ff02::1", "2001:db8::1"),
        *("fec0::1", "64:ff9b:1::1", "3fff::1"),
        # What stands for one of version 4.
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"),
    ],
)
def test_an_address_of_a_private_network_is_not(address: str) -> None:
    assert not is_reachable(ipaddress.ip_address(address), ())


def test_a_network_that_is_allowed_is_reachable_and_its_neighbour_is_not() -> None:
    allowed = parse_networks("10.1.0.0/16, fd00::/64")
    for address, is_allowed in {
        "10.1.2.3": True,
        "::ffff:10.1.2.3": True,
        "10.2.0.1": False,
        "fd00::7": True,
        "fd01::7": False,
    }.items():
        assert is_reachable(ipaddress.ip_address(address), allowed) is is_allowed, address
    with pytest.raises(ValueError, match="host bits"):
        parse_networks("10.1.2.3/8")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": "Ops Room"}, "no name"),
        ({"url": None}, "a webhook has a url"),
        ({"url": "ftp://example.org"}, "write https://"),
        ({"url": "https://"}, "write https://"),
        ({"url": "https://a..b/x"}, "1 to 63 characters"),
        ({"url": f"https://{'a' * 64}.example.org/"}, "1 to 63 characters"),
        ({"url": "https://anna:secret@example.org/"}, "without a user"),
        ({"url": "https://example.org/#part"}, "without #"),
        ({"url": "https://example.org:port/"}, "write https://"),
        ({"url": "https://example.org/a b"}, "write https://"),
        ({"url": "https://example.org/\n"}, "write https://"),
        ({"url": "http://example.org/"}, "ALATAU_WEBHOOK_NETWORKS"),
        ({"url": "https://127.0.0.1/"}, "127.0.0.1 is of a private network"),
        ({"url": "https://[::ffff:169.254.169.254]/"}, "private network"),
        ({"recipients": ("duty@example.org",)}, "e-mail has recipients"),
        ({"per_minute": 0}, "messages a minute"),
    ],
)
def test_a_webhook_that_can_not_be_is_refused_with_what_to_do(change: dict[str, Any], why: str) -> None:
    check_destination(WEBHOOK, ())
    with pytest.raises(DestinationError, match=re.escape(why)):
        check_destination(dataclasses.replace(WEBHOOK, **change), ())


@pytest.mark.parametrize(
    "recipient",
    [
        "duty",
        "duty@",
        "a b@example.org",
        "duty@example.org\nBcc: x@example.org",
        "<duty@example.org>",
        "a@b..c",
        "=?x?q?=0a?=@b.c",
    ],
)
def test_a_recipient_that_is_no_address_is_refused(recipient: str) -> None:
    check_destination(MAIL, ())
    with pytest.raises(DestinationError, match="no e-mail address"):
        check_destination(dataclasses.replace(MAIL, recipients=(recipient,)), ())


def test_plain_text_goes_to_private_networks_that_were_named_only() -> None:
    inside = dataclasses.replace(WEBHOOK, url="http://10.1.2.3/alerts")
    check_destination(inside, parse_networks("10.0.0.0/8"))
    with pytest.raises(DestinationError):
        check_destination(inside, parse_networks("192.168.0.0/16"))


def test_a_secret_is_new_each_time_and_long_enough() -> None:
    first, second = generate_webhook_secret(), generate_webhook_secret()
    assert first != second
    assert webhook_key(first) == base64.b64decode(first.removeprefix("whsec_"))
    assert len(webhook_key(first)) == 32


def test_the_wait_doubles_up_to_the_longest_and_half_of_it_is_chance() -> None:
    options = DeliveryOptions("", first_wait_seconds=5, longest_wait_seconds=100)
    assert [wait_after(n, options, 1.0) for n in (1, 2, 3, 5, 6, 10_000)] == [5, 10, 20, 80, 100, 100]
    assert [wait_after(n, options, 0.0) for n in (1, 2, 6)] == [2.5, 5, 50]


def test_so_many_messages_a_minute_and_then_one_by_one() -> None:
    now = 0.0
    allowance = Allowance(lambda: now)
    assert [allowance.take(1, 3) for _ in range(4)] == [0, 0, 0, 20]
    assert allowance.take(2, 3) == 0  # each has its own
    now = 15.0
    assert allowance.take(1, 3) == pytest.approx(5)
    now = 20.0
    assert [allowance.take(1, 3) for _ in range(2)] == [0, pytest.approx(20)]
    now = 1e6
    assert [allowance.take(1, 3) for _ in range(4)][:3] == [0, 0, 0]
