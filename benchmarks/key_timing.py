"""``./alatau bench key_timing``: does the time of a refusal tell how much of a guessed key was right?

Two guesses with a prefix that there is, one wrong in the first character of its secret and one in the last, are asked
about in turns, in an order that chance chooses anew each time. Where a comparison stopped at the first difference, the
second would take longer: so it is counted how often it does. The same guess asked about twice is the yardstick.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import time
from collections.abc import Mapping, Sequence

import asyncpg

from benchmarks.report import Measure, Result, options
from benchmarks.rig import servers
from storage.api_keys import find_key, generate_key, store_key
from storage.database import connect

_FIRST, _AGAIN, _LAST, _UNKNOWN = "wrong at first", "wrong at first, again", "wrong at last", "unknown prefix"
# By chance alone, one run in 370 is beyond.
_MOST = 3.0


def guesses(key: str) -> dict[str, str]:
    """Return keys that are not the given one."""
    start = len(key) - 43
    first = key[:start] + _other(key[start]) + key[start + 1 :]
    # The prefix is twelve hex digits after "alatau_".
    unknown = f"alatau_{_other(key[7])}{key[8:]}"
    return {_FIRST: first, _AGAIN: first, _LAST: key[:-1] + _other(key[-1]), _UNKNOWN: unknown}


def _other(character: str) -> str:
    return "1" if character == "0" else "0"


def deviations(longer: Sequence[float], shorter: Sequence[float]) -> float:
    """Return how often the first of two takes longer, in standard deviations of what chance alone would do."""
    signs = [a > b for a, b in zip(longer, shorter, strict=True) if a != b]
    return (sum(signs) - len(signs) / 2) / (math.sqrt(len(signs)) / 2) if signs else 0.0


async def _time(connection: asyncpg.Connection, key: str, rounds: int) -> Mapping[str, list[float]]:
    chance = random.Random(1)  # noqa: S311 - an order, no secret
    tried = guesses(key)
    seconds: dict[str, list[float]] = {name: [] for name in tried}
    for _ in range(rounds):
        for name in chance.sample(list(tried), len(tried)):
            started = time.perf_counter()
            found = await find_key(connection, tried[name])
            seconds[name].append(time.perf_counter() - started)
            if found is not None:
                raise RuntimeError(f"{name}: a key that was never made was found")
    return seconds


def _measures(seconds: Mapping[str, Sequence[float]]) -> list[Measure]:
    measures = [
        Measure(f"{name}, median", statistics.median(taken) * 1e6, "µs") for name, taken in seconds.items()
    ]
    for name in (_AGAIN, _LAST):
        far = abs(deviations(seconds[name], seconds[_FIRST]))
        bound = _MOST if name == _LAST else None
        measures.append(
            Measure(f"{name}: longer than by chance", far, "σ", "wrong at first", bound, at_least=False)
        )
    return measures


async def _run(rounds: int) -> Result:
    async with servers() as stack:
        connection = await connect(stack.owner_url, application="bench")
        try:
            key = generate_key()
            await store_key(connection, key, "bench")
            await _time(connection, key, rounds // 10)  # warms up
            return Result("key_timing", {"rounds": rounds}, _measures(await _time(connection, key, rounds)))
        finally:
            await connection.close()


def main() -> None:
    asked = options("Whether the time of a refusal tells how much of a key was right.")
    result = asyncio.run(_run(500 if asked.quick else 20_000))
    result.publish(asked.json)


if __name__ == "__main__":
    main()
