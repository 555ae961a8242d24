"""What a device says of its own connection, or has its last will say."""

from __future__ import annotations

import enum

from sensors.times import SECOND

# A reading and an "offline" after it go different ways: it may arrive so much later and is still from before, µs.
_ON_ITS_WAY = SECOND


class Said(enum.StrEnum):
    """What was said."""

    ONLINE = "online"
    OFFLINE = "offline"


def is_gone(offline_at: int, heard: int) -> bool:
    """Return whether an "offline" counts of a device whose newest reading is of the time ``heard``; Unix µs.

    A reading from after it says that the device came back without a word.
    """
    return heard < offline_at + _ON_ITS_WAY
