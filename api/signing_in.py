"""Signing in: whether a password is somebody's, and letting them in, however they showed who they are."""

from __future__ import annotations

from fastapi import Request

from api.access import address_of, too_often, unauthorized
from api.auditing import Refusal
from api.cookies import session_token
from api.keys import user_actor
from api.services import Services
from api.throttle import Attempt
from sensors.networks import network_of
from storage.audit import Event, record
from storage.kinds import Connection
from storage.sessions import close_session, open_session
from storage.users import USER_NAME, User, find_user, note_sign_in, replace_hash

# Unknown names are not put on record: some type their password there.
_NOBODY = "an unknown user"


def user_name(text: str) -> str:
    """Return a name as it is kept."""
    return text.strip().lower()


async def check_password(
    request: Request, whole: Services, name: str, password: str, action: str
) -> tuple[User, str] | None:
    """Return who has this name and password, and the hash; None where nobody has.

    Raises a problem where too many were wrong. Whether there is somebody of this name is not told, nor by the time that
    it takes. What is refused is put on record.
    """
    found = None
    if USER_NAME.fullmatch(name):
        async with whole.database.connection() as connection:
            found = await find_user(connection, name)
    user, stored = found or (None, None)
    address = address_of(request)
    actor = user_actor(user.name) if user else _NOBODY
    network = network_of(address)
    attempt = Attempt(name, network, is_known=user is not None and network in user.known_addresses)
    async with whole.sign_in_turns.take(network) as is_admitted:
        # One address does not take the places of all others.
        if not is_admitted:
            raise too_often("too many sign in from this address at once", 1)
        if wait := whole.throttle.begin(attempt):
            whole.auditor.refused(Refusal(actor, action, address, "too often"))
            raise too_often("too many wrong passwords were sent", wait)
        try:
            is_right = await whole.passwords.matches(stored, password)
        except BaseException:
            whole.throttle.withdraw(attempt)
            raise
    if user is None or stored is None or not is_right or user.disabled_at is not None:
        whole.auditor.refused(Refusal(actor, action, address))
        return None
    whole.throttle.was_right(attempt)
    return user, stored


async def let_in(
    connection: Connection,
    request: Request,
    whole: Services,
    user: User,
    *,
    by: str,
    password_hash: str | None = None,
) -> str:
    """Open a session of somebody who has shown who they are, put it on record, and return its token; in a transaction.

    It is a new one each time, and the one that the request came with ends. Raises a problem where they may not sign in
    any more; ``password_hash`` is the hash of the password that they showed.
    """
    address, now = address_of(request), whole.clock()
    if not await note_sign_in(connection, user.user_id, network_of(address), now, password_hash):
        raise unauthorized(WRONG)
    if old := session_token(request):
        await close_session(connection, old)
    token = await open_session(connection, user.user_id, address, now, whole.options.sign_in.lifetimes)
    await record(connection, [Event(user_actor(user.name), "sign in", address=address, detail={"by": by})])
    return token


async def renew_hash(whole: Services, user: User, stored: str, password: str) -> None:
    """Hash a password again where that was done with other parameters than now."""
    if whole.passwords.is_outdated(stored):
        better = await whole.passwords.hash(password)
        async with whole.database.connection() as connection:
            await replace_hash(connection, user.user_id, stored, better)


WRONG = "the name or the password is wrong; ask an admin for another password if it is forgotten"
