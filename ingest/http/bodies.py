"""Reading the bodies of requests: each is bounded in size and time, and all of them together in memory."""

from __future__ import annotations

import asyncio
import dataclasses

from starlette.requests import Request

from ingest.http.problems import HttpProblemError, Problem, unavailable


@dataclasses.dataclass(frozen=True, slots=True)
class BodyPolicy:
    """``size`` in bytes is what the broker takes of one message; ``together`` bounds what is being read at once."""

    size: int = 262_144
    seconds: float = 20.0
    together: int = 32 * 1024**2


class Bodies:
    """What is being read of all bodies."""

    def __init__(self, policy: BodyPolicy) -> None:
        self._policy = policy
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """Return the body of a request. Raises HttpProblemError, and ClientDisconnect of one that goes away."""
        announced = request.headers.get("content-length", "")
        # Not asked for then: who waits for "100 Continue" sends nothing.
        if announced.isdecimal() and int(announced) > self._policy.size:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._policy.seconds):
                async for part in request.stream():
                    size += len(part)
                    self._held += len(part)
                    parts.append(part)
                    if size > self._policy.size:
                        raise self._too_large()
                    if self._held > self._policy.together:
                        raise unavailable("as many messages are being read as may be")
        except TimeoutError:
            raise HttpProblemError(
                Problem.TOO_SLOW,
                f"the body did not come within {self._policy.seconds:g} s; send it at once, or less of it",
            ) from None
        finally:
            self._held -= size
        return b"".join(parts)

    def _too_large(self) -> HttpProblemError:
        return HttpProblemError(
            Problem.BODY_TOO_LARGE, f"the body is larger than {self._policy.size} bytes; send it in parts"
        )
