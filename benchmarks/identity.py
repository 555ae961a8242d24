"""How soon a device is let in and thrown out, what a fleet costs, and what hostile ones do to healthy ones:
``./alatau bench identity``."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

import uvloop

from benchmarks.acting import Operator
from benchmarks.admission import admission, revocation
from benchmarks.fleet import fleet
from benchmarks.hostile import ATTACKS, hostile
from benchmarks.report import Measure, Result, options
from benchmarks.rig import forget, servers, worker
from benchmarks.schedule import Schedule
from benchmarks.visibility import api
from cli.console import Steps, errors
from cli.local import LocalStack
from storage.database import DATABASE

# The fleet comes last: its devices stay in the table.
PARTS = ("admission", "revocation", "hostile", "fleet")


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How much of everything: ``repeats`` of each act; devices of the fleet; ``rounds`` of each attack, and the
    ``seconds`` of each of its measurements."""

    repeats: int
    small: int
    some: int
    many: int
    rounds: int
    seconds: float


_FULL = Size(20, 500, 20_000, 100_000, 3, 15.0)
_QUICK = Size(3, 50, 500, 2000, 1, 3.0)


@contextlib.asynccontextmanager
async def _city(stack: LocalStack) -> AsyncIterator[Operator]:
    """Run ingest and API as processes; yields who operates them."""
    async with contextlib.AsyncExitStack() as exits:
        exits.push_async_callback(forget, stack)
        await exits.enter_async_context(worker(stack, stack.ingest_url))
        port = await exits.enter_async_context(api(stack, DATABASE))
        yield exits.enter_context(contextlib.closing(Operator(port, stack.secrets.api_key)))


def _expected(size: Size) -> dict[str, float]:
    return {
        "admission": 8 + 3.0 * size.repeats,
        "revocation": 8 + 1.0 * size.repeats,
        "hostile": 15 + size.rounds * len(ATTACKS) * 3 * (size.seconds + 2),
        "fleet": 10 + size.many / 4000 + 8e-6 * size.small * size.some,
    }


async def measure(stack: LocalStack, part: str, size: Size, schedule: Schedule) -> list[Measure]:
    """Return what a part comes to."""
    with schedule.step(part) as report:
        if part == "fleet":
            return await fleet(stack, size.small, size.some, size.many, report)
        if part == "hostile":
            return await hostile(stack, size.rounds, size.seconds, report)
        acts = admission if part == "admission" else revocation
        async with _city(stack) as operator:
            return await asyncio.to_thread(acts, stack, operator, size.repeats, report)


async def main() -> None:
    """Run the benchmark."""
    asked = options((__doc__ or "").partition(":")[0], PARTS)
    size = _QUICK if asked.quick else _FULL
    result = Result("identity", {**dataclasses.asdict(size), "quick": asked.quick, "parts": asked.only})
    try:
        with Steps(errors) as steps:
            expected = _expected(size)
            schedule = Schedule(steps, {part: expected[part] for part in asked.only})
            async with servers() as stack:
                for part in PARTS:
                    if part in asked.only:
                        result.measures += await measure(stack, part, size, schedule)
    finally:
        # When a part fails, what the others came to is not lost.
        if result.measures:
            result.publish(asked.json)


if __name__ == "__main__":
    uvloop.run(main())
