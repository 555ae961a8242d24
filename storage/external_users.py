"""People who sign in elsewhere: made with their first sign-in, and then what the issuer says they are."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

import asyncpg

from storage.api_keys import KEYS_CHANNEL
from storage.kinds import Connection
from storage.users import NewUser, User, add_user, user_of


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """Who has come, and what they were before; None of somebody new."""

    user: User
    before: User | None

    @property
    def is_changed(self) -> bool:
        """Whether they may do or see something else than before, or have another name."""
        before, user = self.before, self.user
        return before is None or (before.name, before.role, before.scope) != (
            user.name,
            user.role,
            user.scope,
        )


async def arrive(connection: Connection, new: NewUser, names: Sequence[str]) -> Arrival | None:
    """Add who signs in elsewhere, or make them what they are now; in a transaction.

    They get the first of ``names`` that is nobody else's, None if each is. Who is disabled is left as they are. Another
    role or scope ends every session, also the last admin's: it is the issuer that says who is one.
    """
    if new.issuer is None or new.subject is None:
        raise ValueError("somebody who signs in elsewhere has an issuer and a subject")
    before = await hold_by_subject(connection, new.issuer, new.subject)
    if before is None:
        for name in names:
            if user := await add_user(connection, dataclasses.replace(new, name=name)):
                return Arrival(user, None)
        return None
    if before.disabled_at is not None:
        return Arrival(before, before)
    name = await _rename(connection, before, names)
    if (new.role, new.scope) != (before.role, before.scope):
        await connection.execute(
            "UPDATE alatau.user_account SET role = $2, districts = $3, kinds = $4 WHERE user_id = $1",
            before.user_id,
            new.role.value,
            new.scope.districts,
            new.scope.kinds,
        )
        await end_sessions(connection, before)
    user = dataclasses.replace(before, name=name, role=new.role, scope=new.scope)
    return Arrival(user, before)


async def hold_by_subject(connection: Connection, issuer: str, subject: str) -> User | None:
    """Return who has this name at an issuer, disabled ones too.

    In a transaction; until it ends nobody changes them, or makes somebody of this name.
    """
    # Two first sign-ins at once are one user.
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtext('alatau.users'), hashtext($1))", f"{issuer} {subject}"
    )
    row = await connection.fetchrow(
        "SELECT * FROM alatau.user_account WHERE issuer = $1 AND subject = $2 FOR UPDATE", issuer, subject
    )
    return user_of(row) if row else None


async def end_sessions(connection: Connection, user: User) -> None:
    """End every session of somebody; every API is told."""
    await connection.execute("DELETE FROM alatau.user_session WHERE user_id = $1", user.user_id)
    await connection.execute("SELECT pg_notify($1, '')", KEYS_CHANNEL)


async def _rename(connection: Connection, user: User, names: Sequence[str]) -> str:
    """Give somebody the first of these names that is nobody else's, and return it; they keep theirs if each is."""
    for name in names:
        if name == user.name:
            break
        # Whether it is free is known when it is taken: somebody else may be taking it.
        with contextlib.suppress(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.execute(
                    "UPDATE alatau.user_account SET name = $2 WHERE user_id = $1", user.user_id, name
                )
            return name
    return user.name
