"""What a client is told of how often it may ask."""

from __future__ import annotations

from sensors.rates import Rate, Taken

# Where a request's scope has what was taken for it: of what, at which rate, and what came of it.
RATE = "alatau.rate"


def rate_headers(what: str, rate: Rate, taken: Taken) -> dict[str, str]:
    """Return what a client is told of its rate. Source: draft-ietf-httpapi-ratelimit-headers."""
    return {
        "RateLimit-Policy": f'"{what}";q={rate.burst};w={rate.window}',
        "RateLimit": f'"{what}";r={taken.left};t={taken.wait}',
    }
