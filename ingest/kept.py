"""Reading again what was kept of a source, after somebody has claimed it: beside what comes, in pages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import asyncpg
import structlog

from ingest.replay import Replay
from sensors.topics import Topics
from storage.database import connect
from storage.dead_letters import StoredLetter, letters_of_topics, note_replay
from storage.deadline import deadline
from storage.errors import PermanentError, classify
from storage.kept import KEPT_TURN, Kept, note_kept, sources_with_kept
from storage.turns import take_turn

_PAGE, _PAGE_SECONDS = 100, 60.0
_POLL_SECONDS = 30.0  # in case a notification is lost, or who had the turn has died
log = structlog.get_logger("ingest.kept")


async def store_kept(
    connection: asyncpg.Connection, topics: Topics, report: Callable[[int], None] = lambda _: None
) -> int:
    """Read again what waits of claimed sources until nothing is left; return how many readings that stored.

    The connection has the turn (``KEPT_TURN``) and may write readings. ``report`` is told how many messages were
    read. What ends it early is gone on with by the next; a reading that comes twice is one.
    """
    stored = read = 0
    while True:
        async with deadline(connection, _PAGE_SECONDS):
            if not (waiting := await sources_with_kept(connection)):
                return stored
            # Opened after it was asked who waits: these are bound now.
            replay = await Replay.open(connection, topics)
        for source in waiting:
            after, is_done = source.after, False
            while not is_done:
                async with deadline(connection, _PAGE_SECONDS):
                    letters = await letters_of_topics(connection, source.topics, after=after, limit=_PAGE)
                    for letter in letters:
                        stored += await _feed(connection, replay, letter)
                    after = letters[-1].dead_letter_id if letters else after
                    is_done = await _note(connection, source, after if letters else None)
                read += len(letters)
                report(read)


async def _feed(connection: asyncpg.Connection, replay: Replay, letter: StoredLetter) -> int:
    try:
        return (await replay.feed(letter)).stored
    except Exception as error:
        ours = classify(error)
        if not isinstance(ours, PermanentError):
            raise
        verdict = f"still refused: {ours}"
        await note_replay(connection, letter.dead_letter_id, verdict, accepted=False)
        return 0


async def _note(connection: asyncpg.Connection, source: Kept, after: int | None) -> bool:
    """Return whether this source is done with: nothing is left, or it was claimed anew, and is asked for again."""
    return not await note_kept(connection, source, after) or after is None


class KeptReplay:
    """Reads it again in a worker, woken when a source was claimed."""

    def __init__(self, url: str, topics: Topics) -> None:
        self._url = url
        self._topics = topics
        self._claimed = asyncio.Event()

    def wake(self) -> None:
        """Look at once: somebody may have claimed a source."""
        self._claimed.set()

    async def run(self) -> None:
        """Work for ever; ends by cancellation."""
        while True:
            self._claimed.clear()
            try:
                await self._once()
            except Exception as error:  # noqa: BLE001
                # Whatever it is: what comes does not wait for what was kept.
                log.warning(
                    "what was kept can't be read again yet; trying again", error=str(classify(error) or error)
                )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._claimed.wait()

    async def _once(self) -> None:
        connection = await connect(self._url, application="alatau-ingest-kept")
        try:
            async with deadline(connection, _PAGE_SECONDS):
                is_ours = bool(await sources_with_kept(connection, 1)) and await take_turn(
                    connection, KEPT_TURN
                )
            if is_ours:
                stored = await store_kept(connection, self._topics)
                log.info("what was kept of claimed sources is stored", readings=stored)
        finally:
            # A transaction under way ends with its connection, and so does the turn.
            connection.terminate()
