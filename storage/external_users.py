"""People who sign in elsewhere: made with their first sign-in, and then what the issuer says they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from storage.api_keys import KEYS_CHANNEL
from storage.kinds import Connection
from storage.users import NewUser, User, add_user, find_by_subject


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
    # Two first sign-ins at once are one user.
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtext('alatau.users'), hashtext($1))", f"{new.issuer} {new.subject}"
    )
    before = await find_by_subject(connection, new.issuer, new.subject)
    if before is None:
        for name in names:
            if user := await add_user(connection, dataclasses.replace(new, name=name)):
                return Arrival(user, None)
        return None
    if before.disabled_at is not None:
        return Arrival(before, before)
    name = await _free_name(connection, before, names)
    if (name, new.role, new.scope) != (before.name, before.role, before.scope):
        await connection.execute(
            "UPDATE alatau.user_account SET name = $2, role = $3, districts = $4, kinds = $5 WHERE user_id = $1",
            before.user_id,
            name,
            new.role.value,
            new.scope.districts,
            new.scope.kinds,
        )
        if (new.role, new.scope) != (before.role, before.scope):
            await end_sessions(connection, before)
    user = dataclasses.replace(before, name=name, role=new.role, scope=new.scope)
    return Arrival(user, before)


async def end_sessions(connection: Connection, user: User) -> None:
    """End every session of somebody; every API is told."""
    await connection.execute("DELETE FROM alatau.user_session WHERE user_id = $1", user.user_id)
    await connection.execute("SELECT pg_notify($1, '')", KEYS_CHANNEL)


async def _free_name(connection: Connection, user: User, names: Sequence[str]) -> str:
    taken = {
        row["name"]
        for row in await connection.fetch(
            "SELECT name FROM alatau.user_account WHERE name = ANY ($1) AND user_id <> $2",
            names,
            user.user_id,
        )
    }
    return next((name for name in names if name not in taken), user.name)
