"""Who may ask, and how much at once: an API key, asked of the database and remembered for half a minute."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.problems import ProblemError, ProblemType
from api.services import Api, Services
from storage.api_keys import is_valid_key

_BEARER = HTTPBearer(auto_error=False, description="Authorization: Bearer KEY")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key in a header of its own")


async def require_key(
    api: Api,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    header: Annotated[str | None, Security(_HEADER)],
) -> AsyncIterator[None]:
    """Refuse a request without a valid key, or with one that has too many under way; it counts to its end."""
    key = bearer.credentials if bearer else header
    if not key or not await _is_valid(key, api):
        raise _unauthorized(key)
    with api.turns.take(key) as is_admitted:
        if not is_admitted:
            raise ProblemError(
                ProblemType.TOO_MANY,
                f"{api.turns.most} requests with this key are under way already; wait for one of them",
                headers={"Retry-After": "1"},
            )
        yield


async def _is_valid(key: str, api: Services) -> bool:
    if api.keys.knows(key):
        return True
    async with api.database.connection() as connection:
        is_valid = await is_valid_key(connection, key)
    if is_valid:
        api.keys.remember(key)
    return is_valid


def _unauthorized(key: str | None) -> ProblemError:
    what = "this API key is not valid or has expired" if key else "no API key was sent"
    return ProblemError(
        ProblemType.UNAUTHORIZED,
        f'{what}; send "Authorization: Bearer KEY" or "X-API-Key: KEY"',
        headers={"WWW-Authenticate": 'Bearer realm="alatau"'},
    )
