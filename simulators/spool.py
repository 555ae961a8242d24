"""What a device must remember so that nothing is lost: its numbered readings, until each is known to be stored.

The rules of the stored level of delivery, without a clock, a disk or a network; the reference client and every
simulated device keep to them. A reading is the bytes of a JSON object that has its time and no number yet.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Iterable

# The broker takes packets of 262,144 bytes; the topic and the packet's header need a little of that.
MAX_MESSAGE_BYTES = 261_000
# A lost array is sent again whole, so it is not as large as it may be.
MAX_MESSAGE_READINGS = 1_000
# A number is exact in JSON below this: 2^53.
NUMBERS_END = 2**53
_NUMBER_BYTES = 64  # of {"seq":…,"oldest":…, at most


class Spool:
    """Readings ``first`` <= n < ``next``, at most ``limit`` of them; whatever is below has been told of.

    ``through`` is the highest number that a receipt has named. Sending goes from a cursor upwards; ``rewind``
    sets it back, because a message without a receipt may have been lost anywhere.
    """

    __slots__ = ("_cursor", "_is_again", "_kept", "_unsent", "dropped", "first", "limit", "through")

    def __init__(self, limit: int, first: int = 1, through: int = 0) -> None:
        if limit < 1:
            raise ValueError("a spool keeps at least one reading")
        self.limit = limit
        self.first = first
        self.through = through
        self.dropped = 0
        self._kept: collections.deque[bytes] = collections.deque()
        self._cursor = first
        self._unsent = first
        self._is_again = False

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def next(self) -> int:
        """The number of the next reading."""
        return self.first + len(self._kept)

    @property
    def oldest(self) -> int | None:
        """What a message has to say of readings that will never come, None when there are none.

        Said until a receipt has passed them: the message that said it may have been lost.
        """
        return self.first if self.first > self.through + 1 else None

    @property
    def is_sent(self) -> bool:
        """Whether every reading has been sent since the last ``rewind``."""
        return self._cursor == self.next

    @property
    def readings(self) -> Iterable[bytes]:
        """The readings kept, in order."""
        return self._kept

    def check(self, reading: bytes) -> None:
        """Raise ValueError when the reading fits into no message, or no number is left for it."""
        if len(reading) + _NUMBER_BYTES > MAX_MESSAGE_BYTES:
            raise ValueError(f"a reading of {len(reading)} bytes does not fit into a message")
        if self.next >= NUMBERS_END:
            raise ValueError("the numbers are used up")

    def push(self, reading: bytes) -> int:
        """Keep a reading and return its number; when full, the oldest is dropped and counted.

        Raises ValueError as ``check``.
        """
        self.check(reading)
        if len(self._kept) >= self.limit:
            self.drop()
        self._kept.append(reading)
        return self.next - 1

    def drop(self) -> None:
        """Give the oldest reading up."""
        self._kept.popleft()
        self.dropped += 1
        self._move(self.first + 1)

    def receive(self, through: int) -> int:
        """Forget what a receipt says is stored, and return how many readings that were.

        Receipts may come late, twice and in any order. One for numbers that were never given belongs to an
        earlier life of the device: see ``renumber``.
        """
        self.through = max(self.through, through)
        stored = max(0, min(through, self.next - 1) - self.first + 1)
        for _ in range(stored):
            self._kept.popleft()
        self._move(self.first + stored)
        return stored

    def renumber(self, first: int) -> None:
        """Give what is kept new numbers from ``first`` on, and send it again under these.

        For a device that lost its memory and began again with numbers that the platform already had.
        """
        self.first = self._cursor = self._unsent = first

    def rewind(self) -> None:
        """Begin again with the lowest number that is kept.

        The next message says which that is, because the platform may have forgotten what we have: a database
        that was restored from a backup would else wait for these numbers for ever.
        """
        self._cursor = self.first
        self._is_again = self.first > 1

    def take(self) -> tuple[bytes, int]:
        """Return the next message and how many of its readings have been sent before; b"" when there is none.

        One reading is sent as an object, more as an array, as many as fit.
        """
        begin, size = self._cursor, 0
        oldest = self.first if self._is_again else self.oldest
        parts: list[bytes] = []
        while self._cursor < self.next and len(parts) < MAX_MESSAGE_READINGS:
            reading = self._kept[self._cursor - self.first]
            size += len(reading) + _NUMBER_BYTES
            if parts and size > MAX_MESSAGE_BYTES:
                break
            parts.append(numbered(reading, self._cursor, None if parts else oldest))
            self._cursor += 1
        if not parts:
            return b"", 0
        self._is_again = False
        again = max(0, min(self._unsent, self._cursor) - begin)
        self._unsent = max(self._unsent, self._cursor)
        return parts[0] if len(parts) == 1 else b"[" + b",".join(parts) + b"]", again

    def _move(self, first: int) -> None:
        self.first = first
        self._cursor = max(self._cursor, first)
        self._unsent = max(self._unsent, first)


class Patience:
    """How long to wait for a receipt before sending again: twice as long each time, until one comes. Seconds."""

    __slots__ = ("_delay", "_first", "_limit", "deadline")

    def __init__(self, now: float, first: float = 10.0, limit: float = 300.0) -> None:
        self._first = first
        self._limit = limit
        self.renew(now)

    def renew(self, now: float) -> None:
        """Begin again, because a receipt came or there was nothing to wait for."""
        self._delay = self._first
        self.deadline = now + self._first

    def is_over(self, now: float) -> bool:
        """Whether the time has passed; if so, the next one begins."""
        if now < self.deadline:
            return False
        self._delay = min(2 * self._delay, self._limit)
        self.deadline = now + self._delay
        return True


def numbered(reading: bytes, number: int, oldest: int | None) -> bytes:
    """Return the reading as it goes out: the number, and what will never come, beside its time."""
    if oldest is None:
        return b'{"seq":%d,' % number + reading[1:]
    return b'{"seq":%d,"oldest":%d,' % (number, oldest) + reading[1:]


def read_receipt(payload: bytes) -> int | None:
    """Return the number that a receipt names, None when it is none."""
    try:
        receipt = json.loads(payload)
    except ValueError:
        return None
    through = receipt.get("through") if isinstance(receipt, dict) else None
    return through if type(through) is int and 0 <= through < NUMBERS_END else None
