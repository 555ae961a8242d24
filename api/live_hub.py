"""The clients of the stream: each tick is handed to all of them, and who is too slow is dropped."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from api.keys import Caller
from api.line import Line
from api.live_filter import Filter, Rendering
from api.live_ticks import Cursor, LookBack, Tick, read_cursor
from api.options import LiveOptions
from api.problems import ProblemError, ProblemType, unavailable
from api.responses import encode
from api.telemetry import ApiMetrics
from sensors.times import from_microseconds

_RETRY_MILLISECONDS = 2000
_BEAT_SECONDS = 1.0
_END = b""


@dataclasses.dataclass(eq=False, slots=True)
class Client:
    """One stream: whose it is, what it wants, and what waits to be sent, in pieces; an empty piece is the end."""

    caller: Caller
    secret: str  # its key, or the token of its session
    wanted: Filter
    last_id: str | None
    line: Line
    pieces: asyncio.Queue[bytes]
    told_at: float = 0.0  # by the loop's clock
    has_ended: bool = False
    is_dropped: bool = False

    def put(self, piece: bytes, now: float) -> bool:
        """Let a piece be sent; False where too many wait."""
        if self.pieces.full():
            return False
        self.pieces.put_nowait(piece)
        self.told_at = now
        return True

    def end(self) -> None:
        """Send what waits, and no more."""
        if not self.has_ended:
            self.has_ended = True
            if self.pieces.full():
                self.line.abort()
            else:
                self.pieces.put_nowait(_END)


class Hub:
    """Hands ticks to clients. ``clock`` is the loop's; nothing here waits for anybody."""

    def __init__(self, options: LiveOptions, metrics: ApiMetrics, clock: Callable[[], float]) -> None:
        self._options = options
        self._metrics = metrics
        self._clock = clock
        self._clients: dict[Client, None] = {}
        self._of_callers: collections.Counter[str] = collections.Counter()
        self._arriving: list[Client] = []  # until something is known
        self._past: LookBack | None = None
        self._renderings: dict[
            int, Rendering
        ] = {}  # of what clients have missed, by its place, until the next tick
        self.is_wanted = asyncio.Event()
        metrics.count_live_clients(lambda: len(self._clients))

    @property
    def clients(self) -> list[Client]:
        """Those that there are."""
        return list(self._clients)

    @property
    def newest(self) -> Cursor | None:
        """Up to where clients were told, None while nothing is known."""
        return self._past.newest if self._past else None

    def require_room(self, caller: Caller) -> None:
        """Raise a problem where there are too many."""
        options = self._options
        if self._of_callers.get(caller.id, 0) >= options.max_of_one:
            raise ProblemError(
                ProblemType.TOO_MANY,
                f"{options.max_of_one} streams of this {caller.what} are open, and no more at once; close one, or let "
                "several readers share one",
                headers={"Retry-After": "30"},
            )
        if len(self._clients) >= options.max_clients:
            raise unavailable(
                f"{len(self._clients)} streams are open, and no more at once; ask again soon, or ask "
                "GET /api/v1/latest with since",
                retry_after_seconds=10,
            )

    def join(self, caller: Caller, secret: str, wanted: Filter, last_id: str | None, line: Line) -> Client:
        """Take a client; ``leave`` is to follow."""
        pieces: asyncio.Queue[bytes] = asyncio.Queue(self._options.max_behind + 2)
        client = Client(caller, secret, wanted, last_id, line, pieces)
        client.put(format_sse_event(retry=_RETRY_MILLISECONDS), self._clock())
        self._clients[client] = None
        self._of_callers[caller.id] += 1
        self.is_wanted.set()
        if self._past is None:
            self._arriving.append(client)
        else:
            self._welcome(client, self._past)
        line.when_closing(client.end)
        return client

    def leave(self, client: Client) -> None:
        """Forget a client."""
        if client not in self._clients:
            return
        del self._clients[client]
        self._of_callers[client.caller.id] -= 1
        if not self._of_callers[client.caller.id]:
            del self._of_callers[client.caller.id]
        if client in self._arriving:
            self._arriving.remove(client)
        if not self._clients:
            self.is_wanted.clear()

    # -- for the reader ---------------------------------------------------------------------------

    def begin(self, past: LookBack) -> None:
        """Go on from a new beginning: who was here may have missed something, who arrives is told what it has."""
        been, self._past, self._renderings = self._past, past, {}
        arriving, self._arriving = self._arriving, []
        for client in self.clients:
            if client in arriving:
                self._welcome(client, past)
            elif been is not None:
                self._put(client, _missed(been.newest) + _id(past.newest))

    def forget(self) -> None:
        """Know nothing any more, as nobody asks."""
        self._past, self._renderings = None, {}

    def tell(self, tick: Tick) -> None:
        """Hand a tick to all clients that want something of it."""
        if self._past is None:
            raise RuntimeError("a tick came before the beginning")
        self._past.add(tick)
        self._renderings = {}
        rendering, id_ = Rendering(tick), _id(tick.cursor)
        pieces: dict[Filter, bytes] = {}
        for client in self.clients:
            if client.wanted not in pieces:
                events = rendering.events(client.wanted)
                pieces[client.wanted] = events + id_ if events else b""
            if piece := pieces[client.wanted]:
                self._put(client, piece)

    async def run(self) -> None:
        """Keep quiet streams open, until cancelled."""
        while True:
            await self.is_wanted.wait()
            await asyncio.sleep(_BEAT_SECONDS)
            self.beat()

    def beat(self) -> None:
        """Send something to those to whom nothing was sent for long."""
        now = self._clock()
        piece = KEEPALIVE_COMMENT + (_id(self.newest) if self.newest else b"")
        for client in self.clients:
            if now - client.told_at >= self._options.heartbeat_seconds:
                self._put(client, piece)

    def _put(self, client: Client, piece: bytes) -> None:
        if not client.has_ended and not client.put(piece, self._clock()):
            self._metrics.drop_live_client()
            client.has_ended = client.is_dropped = True
            self.leave(client)
            client.line.abort()

    def _welcome(self, client: Client, past: LookBack) -> None:
        events = b"" if client.last_id is None else self._what_was_missed(client.last_id, client.wanted, past)
        self._put(client, events + _id(past.newest))

    def _what_was_missed(self, last_id: str, wanted: Filter, past: LookBack) -> bytes:
        cursor = read_cursor(last_id)
        place = None if cursor is None else past.place_after(cursor)
        if place is None:
            return _missed(cursor)
        if place not in self._renderings:
            self._renderings[place] = Rendering(past.from_place(place))
        return self._renderings[place].events(wanted)


def _id(cursor: Cursor) -> bytes:
    # By itself: it is noted by the client, and no event.
    return format_sse_event(id=cursor.encode())


def _missed(since: Cursor | None) -> bytes:
    try:
        moment = None if since is None else from_microseconds(since.time)
    except OverflowError:
        moment = None  # nobody has it from us
    content = {
        "since": moment,
        "detail": "not all of what happened meanwhile can be told any more; ask GET /api/v1/latest for what is newest",
    }
    return format_sse_event(event="missed", data_str=encode(content).decode())
