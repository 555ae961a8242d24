"""Who may ask, and how much at once: an API key, asked of the database and remembered for half a minute."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.problems import ProblemError, ProblemType
from api.services import Api, Services
from storage.api_keys import find_key_name

_BEARER = HTTPBearer(auto_error=False, description="Authorization: Bearer KEY")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key in a header of its own")


async def require_key(
    api: Api,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    header: Annotated[str | None, Security(_HEADER)],
) -> AsyncIterator[str]:
    """Give the name of the request's key; it counts to the request's end.

    Refuse a request without a valid key, or with one that has too many under way.
    """
    key = bearer.credentials if bearer else header
    if not key or (name := await _name_of(key, api)) is None:
        raise _unauthorized(key)
    async with api.turns.take(key) as is_admitted:
        if not is_admitted:
            turns = api.turns
            raise ProblemError(
                ProblemType.TOO_MANY,
                f"{turns.most} requests with this key are under way and {turns.waiting} wait; wait for one of them",
                headers={"Retry-After": "1"},
            )
        yield name


async def _name_of(key: str, api: Services) -> str | None:
    """Return the name of a valid key, None for one that is not."""
    if (known := api.keys.name_of(key)) is not None:
        return known
    async with api.database.connection() as connection:
        name = await find_key_name(connection, key)
    if name is not None:
        api.keys.remember(key, name)
    return name


def _unauthorized(key: str | None) -> ProblemError:
    what = "this API key is not valid or has expired" if key else "no API key was sent"
    return ProblemError(
        ProblemType.UNAUTHORIZED,
        f'{what}; send "Authorization: Bearer KEY" or "X-API-Key: KEY"',
        headers={"WWW-Authenticate": 'Bearer realm="alatau"'},
    )


# The name of the key that the request came with.
Caller = Annotated[str, Depends(require_key)]
