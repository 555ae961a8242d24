"""Messages by HTTP between their arrival and their commit, without a server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from ingest.arrivals import Arrivals
from ingest.intake import Cut
from ingest.posts import NotTakenError, PostPolicy, Posts, Verdict
from ingest.routes import Routes
from sensors.catalogue import Catalogue
from sensors.topics import Topics

AT_ONCE = PostPolicy(answer_seconds=0.0)
TOPIC = "alatau/v1/air-1/telemetry"


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def posts(
    policy: PostPolicy, clock: Callable[[], float] | None = None, *, wake: list[int] | None = None
) -> Posts:
    """Return what takes messages, which arrive at 1, 2, 3 … µs."""
    arrivals = itertools.count(1)
    woken = [] if wake is None else wake
    made = Posts(policy, lambda: next(arrivals), lambda: woken.append(1), clock or Clock())
    made.open()
    return made


@pytest.fixture
def cut(catalogue: Catalogue) -> Cut:
    routes = Routes(Topics())
    routes.set_catalogue(catalogue)
    routes.add([(1, "air-1", "air_quality", 60.0)])
    return Cut(routes, Arrivals())


async def begun(posts: Posts, payload: bytes) -> asyncio.Task[Verdict]:
    """Send a message, and return when it waits."""
    task = asyncio.create_task(posts.store("air-1", TOPIC, payload), name="test.store")
    await asyncio.sleep(0)
    return task


async def test_each_message_has_the_answer_that_is_its_own(cut: Cut) -> None:
    woken: list[int] = []
    waiting = posts(PostPolicy(), wake=woken)
    good, bad = await begun(waiting, b'{"pm2_5": 1, "seq": 7}'), await begun(waiting, b'{"pm25": 1}')
    assert (waiting.held, len(woken)) == (2, 2)
    taken = waiting.take_into(cut)
    assert (cut.messages, waiting.is_empty, waiting.held) == (2, True, 2)
    cut.receipts = {"air-1": 7}
    waiting.settle(taken, cut)
    verdict, refused = await asyncio.gather(good, bad)
    assert (verdict.faults, verdict.through, verdict.received) == ((), 7, 1)
    assert [fault.reason for fault in refused.faults] == ["unknown_metric"]
    assert refused.through is None
    assert waiting.held == 0


async def test_one_that_nobody_waits_for_any_more_is_in_no_cut(cut: Cut) -> None:
    waiting = posts(AT_ONCE)
    with pytest.raises(NotTakenError, match="has committed nothing for 0 s"):
        await waiting.store("air-1", TOPIC, b"{}")
    gone = await begun(waiting, b"{}")
    gone.cancel()
    await asyncio.wait({gone})
    assert (waiting.take_into(cut), cut.messages, waiting.held) == ([], 0, 0)


async def test_one_whose_client_goes_away_during_the_commit_is_no_longer_counted_after_it(cut: Cut) -> None:
    waiting = posts(PostPolicy())
    gone = await begun(waiting, b"{}")
    taken = waiting.take_into(cut)
    gone.cancel()
    await asyncio.wait({gone})
    assert waiting.held == 1
    waiting.settle(taken, cut)
    assert waiting.held == 0


@pytest.mark.parametrize("policy", [PostPolicy(messages=1), PostPolicy(size=5)], ids=["messages", "bytes"])
async def test_beyond_the_bound_nothing_is_taken(cut: Cut, policy: PostPolicy) -> None:
    waiting = posts(policy)
    first = await begun(waiting, b"[1]")
    with pytest.raises(NotTakenError, match="as many messages wait for their commit as may"):
        await waiting.store("air-1", TOPIC, b"[2]")
    waiting.settle(waiting.take_into(cut), cut)
    await first
    second = await begun(waiting, b"[2]")
    assert waiting.held == 1
    second.cancel()


async def test_while_a_commit_takes_too_long_nobody_is_kept_waiting(cut: Cut) -> None:
    clock = Clock()
    waiting = posts(PostPolicy(), clock)
    first = await begun(waiting, b"{}")
    taken = waiting.take_into(cut)
    clock.now = 5.1
    with pytest.raises(NotTakenError, match="has committed nothing for 5 s"):
        await waiting.store("air-1", TOPIC, b"{}")
    waiting.settle(taken, cut)
    await first
    (await begun(waiting, b"{}")).cancel()


async def test_what_starts_or_stops_takes_nothing() -> None:
    waiting = Posts(PostPolicy(), lambda: 1, lambda: None, Clock())
    with pytest.raises(NotTakenError, match="is starting"):
        await waiting.store("air-1", TOPIC, b"{}")
    waiting.open()
    waiting.close()
    with pytest.raises(NotTakenError, match="is stopping"):
        await waiting.store("air-1", TOPIC, b"{}")
