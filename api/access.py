"""Who may ask: an API key, asked of the database and remembered for half a minute."""

from __future__ import annotations

from typing import Annotated

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.problems import ProblemError, ProblemType
from api.services import Api
from storage.api_keys import is_valid_key

_BEARER = HTTPBearer(auto_error=False, description="Authorization: Bearer KEY")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key in a header of its own")


async def require_key(
    api: Api,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    header: Annotated[str | None, Security(_HEADER)],
) -> None:
    """Refuse a request without a valid key."""
    key = bearer.credentials if bearer else header
    if key and api.keys.knows(key):
        return
    if key:
        async with api.database.connection() as connection:
            if await is_valid_key(connection, key):
                api.keys.remember(key)
                return
    what = "this API key is not valid or has expired" if key else "no API key was sent"
    raise ProblemError(
        ProblemType.UNAUTHORIZED,
        f'{what}; send "Authorization: Bearer KEY" or "X-API-Key: KEY"',
        headers={"WWW-Authenticate": 'Bearer realm="alatau"'},
    )
