"""People: who they are, how they sign in, what each may do and see. Their sessions are in ``storage.sessions``."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

from sensors.errors import AlatauError
from storage.api_keys import KEYS_CHANNEL, WHOLE, Role, Scope
from storage.kinds import Connection

# Few characters, so that no two names look the same; large letters are taken as small ones. Digits alone could be the
# number that the record has of who uses a command line without a name.
USER_NAME = re.compile(r"(?!\d+$)[a-z0-9][a-z0-9._@+-]{0,99}")
# Where somebody signed in before is remembered for so many places.
_ADDRESSES = 10


class SignsInElsewhereError(AlatauError):
    """Somebody of an issuer has no password here; nothing was changed."""


class LastAdminError(AlatauError):
    """Without this person nobody could sign in as an admin; nothing was changed."""


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """What is kept of somebody, but for the hash of the password; ``user_id`` is never given to another."""

    user_id: int
    name: str
    role: Role
    scope: Scope
    has_password: bool
    issuer: str | None
    subject: str | None
    created_at: dt.datetime
    created_by: str | None
    last_sign_in_at: dt.datetime | None
    known_addresses: tuple[str, ...]
    disabled_at: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class NewUser:
    """Somebody to be added. Who signs in elsewhere has an ``issuer`` and a ``subject`` there, and no hash."""

    name: str
    role: Role = Role.VIEWER
    scope: Scope = WHOLE
    password_hash: str | None = None
    issuer: str | None = None
    subject: str | None = None
    created_by: str | None = None


async def add_user(connection: Connection, new: NewUser) -> User | None:
    """Add somebody; returns None, and changes nothing, where the name or the subject is taken."""
    row = await connection.fetchrow(
        """
        INSERT INTO alatau.user_account
            (name, role, districts, kinds, password_hash, issuer, subject, created_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING *
        """,
        new.name,
        new.role.value,
        new.scope.districts,
        new.scope.kinds,
        new.password_hash,
        new.issuer,
        new.subject,
        new.created_by,
    )
    return user_of(row) if row else None


async def has_users(connection: Connection) -> bool:
    """Return whether there is anybody."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM alatau.user_account)"))


async def add_first_user(connection: Connection, new: NewUser) -> User | None:
    """Add somebody where there is nobody yet, else return None; in a transaction."""
    await _serialise(connection)
    return None if await has_users(connection) else await add_user(connection, new)


async def list_users(connection: Connection) -> list[User]:
    """Return everybody by name, disabled ones too."""
    return [user_of(row) for row in await connection.fetch("SELECT * FROM alatau.user_account ORDER BY name")]


async def find_user(connection: Connection, name: str) -> tuple[User, str | None] | None:
    """Return somebody, and the hash of the password, by name; disabled ones too.

    Somebody of an issuer has none, even if there is one: whom the issuer lets in no more would go on with it.
    """
    row = await connection.fetchrow("SELECT * FROM alatau.user_account WHERE name = $1", name)
    return (user_of(row), row["password_hash"] if row["issuer"] is None else None) if row else None


async def note_sign_in(
    connection: Connection, user_id: int, address: str, now: dt.datetime, password_hash: str | None = None
) -> bool:
    """Note that somebody signs in from an address; in the transaction that opens the session, and before.

    Returns False where they were disabled meanwhile, or where the password is no longer that of ``password_hash``, if
    they showed one. Who changes them waits for the transaction's end, and ends its session too.
    """
    return bool(
        await connection.fetchval(
            f"""
            UPDATE alatau.user_account SET last_sign_in_at = $2,
                known_addresses = ($3::text || array_remove(known_addresses, $3))[1:{_ADDRESSES}]
            WHERE user_id = $1 AND disabled_at IS NULL AND ($4::text IS NULL OR password_hash = $4)
            RETURNING true
            """,
            user_id,
            now,
            address,
            password_hash,
        )
    )


async def replace_hash(connection: Connection, user_id: int, old: str, new: str) -> None:
    """Keep a better hash of the same password, unless that was changed meanwhile; sessions go on."""
    await connection.execute(
        "UPDATE alatau.user_account SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2",
        user_id,
        old,
        new,
    )


async def set_password(
    connection: Connection, name: str, password_hash: str, *, keep: bytes | None = None
) -> User | None:
    """Give somebody another password. Every session ends, but for the one whose token has the hash ``keep``.

    Raises SignsInElsewhereError.
    """
    async with connection.transaction():
        user = await _change(connection, name, "password_hash = $2", password_hash, keep=keep)
        if user is not None and user.issuer is not None:
            raise SignsInElsewhereError(
                f"{name} signs in at {user.issuer}, and only there; change the password there, "
                f"or delete {name} and add somebody with a password"
            )
    return user


async def hold_password(connection: Connection, user_id: int, password_hash: str) -> bool:
    """Return whether this is still the hash of somebody's password; it stays that to the transaction's end."""
    found: str | None = await connection.fetchval(
        "SELECT password_hash FROM alatau.user_account WHERE user_id = $1 FOR UPDATE", user_id
    )
    return found == password_hash


async def set_role(connection: Connection, name: str, role: Role, scope: Scope) -> User | None:
    """Let somebody do and see something else; every session ends. Raises LastAdminError."""
    return await _change(
        connection, name, "role = $2, districts = $3, kinds = $4", role.value, scope.districts, scope.kinds
    )


async def disable_user(connection: Connection, name: str) -> User | None:
    """Let somebody in no more; every session ends. Raises LastAdminError."""
    return await _change(connection, name, "disabled_at = coalesce(disabled_at, now())")


async def enable_user(connection: Connection, name: str) -> User | None:
    """Let somebody in again."""
    return await _change(connection, name, "disabled_at = NULL")


async def delete_user(connection: Connection, name: str) -> User | None:
    """Delete somebody, with every session. What they did stays on record. Raises LastAdminError."""
    async with connection.transaction():
        await _serialise(connection)
        had_admins = await _has_admins(connection)
        row = await connection.fetchrow("DELETE FROM alatau.user_account WHERE name = $1 RETURNING *", name)
        await _finish(connection, name, had_admins=had_admins)
    return user_of(row) if row else None


async def _change(
    connection: Connection, name: str, change: str, *values: object, keep: bytes | None = None
) -> User | None:
    """Change somebody, end the sessions, tell every API; returns None where there is nobody of this name."""
    async with connection.transaction():
        await _serialise(connection)
        had_admins = await _has_admins(connection)
        row = await connection.fetchrow(
            f"UPDATE alatau.user_account SET {change} WHERE name = $1 RETURNING *", name, *values
        )
        if row is None:
            return None
        await connection.execute(
            "DELETE FROM alatau.user_session WHERE user_id = $1 AND token_hash IS DISTINCT FROM $2",
            row["user_id"],
            keep,
        )
        await _finish(connection, name, had_admins=had_admins)
    return user_of(row)


async def _serialise(connection: Connection) -> None:
    # Two admins that disable each other would each see the other one left.
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('alatau.users'))")


async def _has_admins(connection: Connection) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM alatau.user_account WHERE role = $1 AND disabled_at IS NULL)",
            Role.ADMIN.value,
        )
    )


async def _finish(connection: Connection, name: str, *, had_admins: bool) -> None:
    if had_admins and not await _has_admins(connection):
        raise LastAdminError(f"{name} is the last admin who can sign in; let another one be first")
    await connection.execute("SELECT pg_notify($1, '')", KEYS_CHANNEL)


def user_of(row: Any) -> User:
    """Return the person of a row."""
    return User(
        user_id=row["user_id"],
        name=row["name"],
        role=Role(row["role"]),
        scope=scope_of(row),
        has_password=row["password_hash"] is not None and row["issuer"] is None,
        issuer=row["issuer"],
        subject=row["subject"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        last_sign_in_at=row["last_sign_in_at"],
        known_addresses=tuple(row["known_addresses"]),
        disabled_at=row["disabled_at"],
    )


def scope_of(row: Any) -> Scope:
    """Return the scope that a row has."""
    return Scope(*(_names(row[name]) for name in ("districts", "kinds")))


def _names(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
