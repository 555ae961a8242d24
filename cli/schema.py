"""The database as this version needs it: its schema, and what comes with us."""

from __future__ import annotations

from sensors.profiles import builtin_profiles
from storage.database import connect
from storage.migrations.run import upgrade
from storage.profiles import put_builtin_profiles


async def prepare_schema(url: str) -> None:
    """Bring a database to the newest revision, and store the profiles that come with us. Raises PermanentError."""
    await upgrade(url)
    connection = await connect(url, application="alatau-migrate")
    try:
        async with connection.transaction():
            await put_builtin_profiles(connection, builtin_profiles())
    finally:
        await connection.close()
