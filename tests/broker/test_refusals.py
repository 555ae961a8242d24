"""Lines of the broker's log."""

from __future__ import annotations

import pytest

from broker.refusals import Dismissal, Why, dismissal_of


@pytest.mark.parametrize(
    ("line", "dismissal"),
    [
        (b"1: Client x disconnected, not authorised.", Dismissal(Why.NOT_AUTHORIZED, "x")),
        (b"1: Client <unknown> disconnected due to protocol error.", Dismissal(Why.PROTOCOL)),
        (b"1: Client x disconnected due to oversize payload.", Dismissal(Why.TOO_LARGE, "x")),
        (
            b"1: Client connection from ::1 denied: max_connections exceeded.",
            Dismissal(Why.TOO_MANY, address="::1"),
        ),
        (b"1: Client x closed its connection.", None),
        (b"1: Client x has exceeded timeout, disconnecting.", None),
        # Clients that call themselves like a line.
        (b"1: Client 1: Client x disconnected, not authorised. closed its connection.", None),
        (
            b"1: Client x disconnected, not authorised. disconnected due to malformed packet.",
            Dismissal(Why.MALFORMED, "x disconnected, not authorised."),
        ),
        (b"1: New client connected from ::1:5 as x disconnected, not authorised. (p5, c1, k60).", None),
        (b"\xff", None),
    ],
)
def test_a_line_of_the_log_says_who_was_sent_away(line: bytes, dismissal: Dismissal | None) -> None:
    assert dismissal_of(line) == dismissal
