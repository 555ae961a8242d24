"""Who may ask, what, and how often: an API key or a session, asked of the database and remembered for half a minute."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.auditing import Refusal
from api.cookies import COOKIE, forgery, session_token
from api.keys import Caller, KeyCache
from api.parameters import split_list
from api.problems import ProblemError, ProblemType
from api.rates import RATE
from api.services import Services, Whole
from sensors.rates import Buckets
from storage.api_keys import Role, find_key, prefix_of
from storage.audit import Event
from storage.kinds import Connection
from storage.sessions import Session, find_session

_BEARER = HTTPBearer(auto_error=False, description="Authorization: Bearer KEY")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key in a header of its own")
# For the description: which cookie it is depends on the request.
_COOKIE = APIKeyCookie(
    name=COOKIE,
    auto_error=False,
    description="Of a session, from POST /api/v1/session; over https its name begins with __Host-. "
    "What changes something also needs X-CSRF-Token, from GET /api/v1/session.",
)
_READING = frozenset({"GET", "HEAD"})
_SHOWN = "alatau.shown"  # the key in the scope of a key, or of a token


async def known_caller(
    request: Request,
    whole: Whole,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    header: Annotated[str | None, Security(_HEADER)],
    _: Annotated[str | None, Security(_COOKIE)],
) -> Caller:
    """Return who asks, a key or, where none was sent, the person of a session.

    Refuse a request without either, one that another site made of a session, and who asks too often.
    """
    address = address_of(request)
    take_turn_of_address(request, whole)
    key = bearer.credentials if bearer else header
    caller = await (
        _caller_of_key(key, address, whole) if key else _caller_of_session(request, address, whole)
    )
    request.scope[_SHOWN] = key or session_token(request)
    _take(request, whole.rates.of_keys, caller.id, caller.what)
    if not caller.is_person:
        whole.auditor.used(caller.id)
    return caller


# Who asks, of what goes on and on: it takes none of the caller's turns.
Known = Annotated[Caller, Depends(known_caller)]


def secret_of(request: Request) -> str:
    """Return the key, or the token of the session, of a request whose caller is known."""
    return str(request.scope[_SHOWN])


async def require_caller(whole: Whole, caller: Known) -> AsyncIterator[Caller]:
    """Give who asks; it counts to the request's end. Refuse who asks too much at once."""
    async with whole.turns.take(caller.id) as is_admitted:
        if not is_admitted:
            turns = whole.turns
            raise ProblemError(
                ProblemType.TOO_MANY,
                f"{turns.most} requests with this {caller.what} are under way and {turns.waiting} wait; "
                "wait for one of them",
                headers={"Retry-After": "1"},
            )
        yield caller


# Who asks.
Asking = Annotated[Caller, Depends(require_caller)]


async def _services_as_seen(whole: Whole, caller: Asking) -> Services:
    """Return the services with what the caller's scope leaves of the database."""
    if caller.scope.is_whole:
        return whole
    return dataclasses.replace(whole, database=whole.database.seen_by(caller.scope, caller.id))


# What every route that needs a caller gets: there is no other way to the database than what the caller may see of it.
Api = Annotated[Services, Depends(_services_as_seen)]


def allow(read: Role, write: Role) -> Callable[[Request, Services, Caller], Awaitable[None]]:
    """Return the dependency that refuses who may not read, or not change, what some paths are about."""

    async def require_role(request: Request, whole: Whole, caller: Asking) -> None:
        _require_role(request, whole, caller, read if request.method in _READING else write)

    return require_role


def allow_lasting(read: Role) -> Callable[[Request, Services, Caller], Awaitable[None]]:
    """Return the same for paths that are read and whose answers go on and on."""

    async def require_role(request: Request, whole: Whole, caller: Known) -> None:
        _require_role(request, whole, caller, read)

    return require_role


def _require_role(request: Request, whole: Services, caller: Caller, needed: Role) -> None:
    if not caller.role.includes(needed):
        raise refuse(
            request,
            whole,
            caller,
            f"it takes the role {needed.value}, and this {caller.what} has {caller.role.value}",
        )
    for name, valid in (("district", caller.scope.districts), ("kind", caller.scope.kinds)):
        for value in split_list(request.query_params.getlist(name)):
            require_in_scope(request, whole, caller, name, value, valid)


def require_in_scope(
    request: Request, whole: Services, caller: Caller, name: str, value: str, valid: tuple[str, ...] | None
) -> None:
    """Refuse a district or kind that is none of those that the caller's scope has, None being all."""
    if valid is not None and value not in valid:
        raise refuse(
            request,
            whole,
            caller,
            f"this {caller.what} sees only {name}={','.join(valid)}",
            subject=f"{name}={value[:80]}",
        )


def refuse(
    request: Request, whole: Services, caller: Caller, detail: str, subject: str | None = None
) -> ProblemError:
    """Return the problem of what a caller may not do, and put it on record."""
    _put_on_record(request, whole, caller, subject)
    remedy = "ask an admin for the right to" if caller.is_person else "ask the operator for a key that may"
    return ProblemError(ProblemType.FORBIDDEN, f"{detail}; {remedy}")


def _put_on_record(request: Request, whole: Services, caller: Caller, subject: str | None) -> None:
    action = f"{request.method} {_template(request)}"
    whole.auditor.refused(Refusal(caller.actor, action, address_of(request), subject))


def act(request: Request, caller: Caller, action: str, subject: str | None, **detail: object) -> Event:
    """Return the record of an administrative act."""
    return Event(caller.actor, action, subject=subject, address=address_of(request), detail=detail)


def address_of(request: Request) -> str:
    """Return from where a request came; behind a declared proxy, what that says of it."""
    return request.client.host if request.client else "unknown"


def _template(request: Request) -> str:
    return str(getattr(request.scope.get("route"), "path", "unmatched"))


async def _caller_of_key(key: str, address: str, whole: Services) -> Caller:
    async def find(connection: Connection) -> tuple[Caller, float] | None:
        if (found := await find_key(connection, key)) is None:
            return None
        left = math.inf if found.expires_at is None else (found.expires_at - whole.clock()).total_seconds()
        return Caller(found.prefix, found.name, found.role, found.scope), left

    caller = await _find_caller(key, address, whole, whole.keys, find)
    if caller is None:
        whole.auditor.refused(Refusal(prefix_of(key) or "a wrong key", "sign in", address))
        raise unauthorized("this API key is not valid or has expired; " + _SEND_A_KEY)
    return caller


async def _caller_of_session(request: Request, address: str, whole: Services) -> Caller:
    token = session_token(request)
    if token is None:
        whole.auditor.refused(Refusal("no key", "sign in", address))
        raise unauthorized(f"no API key was sent; {_SEND_A_KEY}, or sign in on /sign-in")

    async def find(connection: Connection) -> tuple[Caller, float] | None:
        now, lifetimes = whole.clock(), whole.options.sign_in.lifetimes
        if (found := await find_session(connection, token, now, lifetimes)) is None:
            return None
        return _person(found), found.left(now, lifetimes).total_seconds()

    caller = await _find_caller(token, address, whole, whole.sessions, find)
    if caller is None:
        whole.auditor.refused(Refusal("a session that has ended", "sign in", address))
        raise unauthorized("this session has ended; sign in again on /sign-in")
    if (reason := forgery(request, token)) is not None:
        _put_on_record(request, whole, caller, "forged")
        raise ProblemError(ProblemType.FORBIDDEN, reason)
    return caller


def _person(session: Session) -> Caller:
    # What a person asked for is seen by the same person with the same scope, and not by one of the same name later.
    scope = session.scope
    seen = "" if scope.is_whole else f" {','.join(scope.districts or '*')} {','.join(scope.kinds or '*')}"
    return Caller(f"user {session.user_id}{seen}", session.name, session.role, scope, is_person=True)


async def _find_caller(
    secret: str,
    address: str,
    whole: Services,
    cache: KeyCache,
    find: Callable[[Connection], Awaitable[tuple[Caller, float] | None]],
) -> Caller | None:
    """Return whose a valid key or token is, None of one that is not; ``find`` also tells for how many seconds."""
    if (known := cache.caller_of(secret)) is not None:
        return known
    # Who has shown a valid one before is let ask: others behind the same address may be the ones that guess.
    if not (has_seen := cache.has_seen(secret)):
        refuse_if_too_often_wrong(address, whole)
    generation = cache.generation
    async with whole.database.connection() as connection:
        found = await find(connection)
    if found is None:
        if not has_seen:
            whole.rates.of_wrong_keys.take(address)
        return None
    caller, left = found
    cache.remember(secret, caller, generation, left)
    return caller


def take_turn_of_address(request: Request, whole: Services) -> None:
    """Count a request of an address. Raises a problem where it asks too often."""
    _take(request, whole.rates.of_addresses, address_of(request), "address")


def refuse_if_too_often_wrong(address: str, whole: Services) -> None:
    """Refuse an address from which too much came that was wrong."""
    wrong = whole.rates.of_wrong_keys
    if wrong.is_empty(address):
        raise too_often(f"too many wrong keys came from {address}", wrong.take(address).wait)


def _take(request: Request, buckets: Buckets, name: str, what: str) -> None:
    taken = buckets.take(name)
    request.scope[RATE][:] = [what, buckets.rate, taken]
    if not taken.is_allowed:
        raise too_often(f"this {what} asks more than {buckets.rate.per_second:g} times a second", taken.wait)


def too_often(detail: str, wait: int) -> ProblemError:
    """Return the problem of who has to wait for so many seconds."""
    return ProblemError(
        ProblemType.TOO_MANY, f"{detail}; wait {wait} s", headers={"Retry-After": str(max(1, wait))}
    )


_SEND_A_KEY = 'send "Authorization: Bearer KEY" or "X-API-Key: KEY"'


def unauthorized(detail: str) -> ProblemError:
    """Return the problem of who is nobody that is known."""
    return ProblemError(
        ProblemType.UNAUTHORIZED, detail, headers={"WWW-Authenticate": 'Bearer realm="alatau"'}
    )
