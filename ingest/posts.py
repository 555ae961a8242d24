"""Messages that came by HTTP, from their arrival until somebody can be told what became of them.

They wait beside what the broker sends, in a share of the window of their own, and go into a cut as it is begun. Until
then one whose answer nobody waits for any more is withdrawn, and leaves no trace.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from mqtt5 import PublishPacket

from ingest.decode import Fault
from sensors.errors import AlatauError

if TYPE_CHECKING:
    from ingest.intake import Cut


@dataclasses.dataclass(frozen=True, slots=True)
class PostPolicy:
    """How much may wait for its commit at once, ``size`` in bytes, and for how long."""

    messages: int = 6000
    size: int = 16 * 1024**2
    answer_seconds: float = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a message that came at ``received``, Unix µs: its rows are committed, and its dead letter if there
    are faults. ``through`` is up to where the numbers of its device are stored, if it brought one.
    """

    received: int
    faults: tuple[Fault, ...]
    through: int | None


class NotTakenError(AlatauError):
    """Nothing is promised: the message is not stored, or not yet known to be. The text says why."""


@dataclasses.dataclass(slots=True, eq=False)
class Post:
    """A message that waits; ``received`` in Unix µs."""

    device: str
    packet: PublishPacket
    received: int
    answer: asyncio.Future[Verdict]


class Posts:
    """The messages of one worker. ``arrival`` returns an arrival's time, ``wake`` wakes who begins cuts, and
    ``monotonic`` returns seconds."""

    def __init__(
        self,
        policy: PostPolicy,
        arrival: Callable[[], int],
        wake: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._arrival = arrival
        self._wake = wake
        self._monotonic = monotonic
        self._waiting: dict[int, Post] = {}  # by identity
        self._held = self._size = 0
        self._committing_since: float | None = None
        self._closed: str | None = "ingest is starting, and waits for the database"

    @property
    def held(self) -> int:
        """How many messages wait for their commit."""
        return self._held

    @property
    def is_empty(self) -> bool:
        """Whether none waits for a cut."""
        return not self._waiting

    def open(self) -> None:
        """Take messages from now on."""
        self._closed = None

    def close(self) -> None:
        """Take no more; those that wait are committed."""
        self._closed = "ingest is stopping"

    async def store(self, device: str, topic: str, payload: bytes) -> Verdict:
        """Return what became of a message, after its commit. Raises NotTakenError."""
        self._require_room(len(payload))
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        post = Post(device, PublishPacket(topic, payload), self._arrival(), answer)
        self._waiting[id(post)] = post
        self._held += 1
        self._size += len(payload)
        self._wake()
        try:
            async with asyncio.timeout(self._policy.answer_seconds):
                return await answer
        except TimeoutError:
            raise NotTakenError(self._too_long()) from None
        finally:
            if self._waiting.pop(id(post), None) is not None:
                self._release(post)

    def _require_room(self, size: int) -> None:
        policy = self._policy
        if self._closed is not None:
            raise NotTakenError(self._closed)
        since = self._committing_since
        if since is not None and self._monotonic() - since > policy.answer_seconds:
            raise NotTakenError(self._too_long())
        if self._held >= policy.messages or self._size + size > policy.size:
            raise NotTakenError("as many messages wait for their commit as may")

    def _too_long(self) -> str:
        return f"the database has committed nothing for {self._policy.answer_seconds:g} s"

    def take_into(self, cut: Cut) -> list[Post]:
        """Let a cut have all that wait; ``settle`` them once it has committed, also when there are none."""
        posts = list(self._waiting.values())
        self._waiting.clear()
        for post in posts:
            cut.feed([post.packet], post.received, len(post.packet.payload))
        self._committing_since = self._monotonic() if cut.messages else None
        return posts

    def settle(self, posts: list[Post], cut: Cut) -> None:
        """Answer for the messages of a cut, which has committed."""
        self._committing_since = None
        numbered = cut.sequence.carriers() if posts and len(cut.sequence) else set()
        for post in posts:
            self._release(post)
            if post.answer.done():
                continue  # who asked is gone, and may ask again
            message = cut.faulty.get(id(post.packet))
            through = cut.receipts.get(post.device) if id(post.packet) in numbered else None
            post.answer.set_result(Verdict(post.received, tuple(message.faults) if message else (), through))

    def _release(self, post: Post) -> None:
        self._held -= 1
        self._size -= len(post.packet.payload)
