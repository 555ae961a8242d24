"""The connection on which the secrets of accounts are looked up."""

from __future__ import annotations

import asyncio

import asyncpg

from storage.account_secrets import find_secret
from storage.database import connect
from storage.deadline import deadline
from storage.devices import Credential
from storage.errors import classify

_DEADLINE_SECONDS = 5.0


class Accounts:
    """Finds what is stored of an account's secret, one account after the other; opened when it is needed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None

    async def find(self, username: str) -> Credential | None:
        """Return it as it is now, None where there is none. Raises StorageError."""
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS), self._lock:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await connect(self._url, application="alatau-ingest-http")
                async with deadline(self._connection, _DEADLINE_SECONDS):
                    return await find_secret(self._connection, username)
        except Exception as error:
            raise classify(error) or error from error

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.terminate()
