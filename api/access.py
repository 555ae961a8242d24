"""Who may ask, what, and how often: an API key, asked of the database and remembered for half a minute."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.auditing import Refusal
from api.keys import Caller
from api.parameters import split_list
from api.problems import ProblemError, ProblemType
from api.rates import RATE, Buckets, Taken
from api.services import Services, Whole
from storage.api_keys import Role, find_key, prefix_of
from storage.audit import Event

_BEARER = HTTPBearer(auto_error=False, description="Authorization: Bearer KEY")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key in a header of its own")
_READING = frozenset({"GET", "HEAD"})


async def require_key(
    request: Request,
    whole: Whole,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    header: Annotated[str | None, Security(_HEADER)],
) -> AsyncIterator[Caller]:
    """Give whose key the request came with; it counts to the request's end.

    Refuse a request without a valid key, or of a key or an address that asks too often, or too much at once.
    """
    address = address_of(request)
    _take(request, whole.rates.of_addresses, address, "address")
    key = bearer.credentials if bearer else header
    caller = await _find_caller(key, address, whole) if key else None
    if key is None or caller is None:
        if key is not None:
            whole.rates.of_wrong_keys.take(address)
        whole.auditor.refused(Refusal(_named(key), "sign in", address))
        raise _unauthorized(key)
    _take(request, whole.rates.of_keys, caller.prefix, "key")
    whole.auditor.used(caller.prefix)
    async with whole.turns.take(key) as is_admitted:
        if not is_admitted:
            turns = whole.turns
            raise ProblemError(
                ProblemType.TOO_MANY,
                f"{turns.most} requests with this key are under way and {turns.waiting} wait; wait for one of them",
                headers={"Retry-After": "1"},
            )
        yield caller


# Who asks.
Asking = Annotated[Caller, Depends(require_key)]


async def _services_as_seen(whole: Whole, caller: Asking) -> Services:
    """Return the services with what the caller's scope leaves of the database."""
    if caller.scope.is_whole:
        return whole
    return dataclasses.replace(whole, database=whole.database.seen_by(caller.scope, caller.prefix))


# What every route that needs a key gets: there is no other way to the database than what the key may see of it.
Api = Annotated[Services, Depends(_services_as_seen)]


def allow(read: Role, write: Role) -> Callable[[Request, Services, Caller], Awaitable[None]]:
    """Return the dependency that refuses who may not read, or not change, what some paths are about."""

    async def require_role(request: Request, whole: Whole, caller: Asking) -> None:
        needed = read if request.method in _READING else write
        if not caller.role.includes(needed):
            raise refuse(
                request,
                whole,
                caller,
                f"it takes the role {needed.value}, and this key has {caller.role.value}",
            )
        for name, valid in (("district", caller.scope.districts), ("kind", caller.scope.kinds)):
            for value in split_list(request.query_params.getlist(name)):
                require_in_scope(request, whole, caller, name, value, valid)

    return require_role


def require_in_scope(
    request: Request, whole: Services, caller: Caller, name: str, value: str, valid: tuple[str, ...] | None
) -> None:
    """Refuse a district or kind that is none of those that the caller's scope has, None being all."""
    if valid is not None and value not in valid:
        raise refuse(
            request,
            whole,
            caller,
            f"this key sees only {name}={','.join(valid)}",
            subject=f"{name}={value[:80]}",
        )


def refuse(
    request: Request, whole: Services, caller: Caller, detail: str, subject: str | None = None
) -> ProblemError:
    """Return the problem of what a key may not do, and put it on record."""
    action = f"{request.method} {_template(request)}"
    whole.auditor.refused(Refusal(caller.actor, action, address_of(request), subject))
    return ProblemError(ProblemType.FORBIDDEN, f"{detail}; ask the operator for a key that may")


def act(request: Request, caller: Caller, action: str, subject: str | None, **detail: object) -> Event:
    """Return the record of an administrative act."""
    return Event(caller.actor, action, subject=subject, address=address_of(request), detail=detail)


def address_of(request: Request) -> str:
    """Return from where a request came; behind a proxy on this machine, what that says of it."""
    return request.client.host if request.client else "unknown"


def _template(request: Request) -> str:
    return str(getattr(request.scope.get("route"), "path", "unmatched"))


async def _find_caller(key: str, address: str, whole: Services) -> Caller | None:
    """Return whose a valid key is, None of one that is not."""
    if (known := whole.keys.caller_of(key)) is not None:
        return known
    # Who has shown a valid key before is let ask: others behind the same address may be the ones that guess.
    if whole.rates.of_wrong_keys.is_empty(address) and not whole.keys.has_seen(prefix_of(key)):
        raise _too_often(f"too many wrong keys came from {address}", whole.rates.of_wrong_keys, address)
    generation = whole.keys.generation
    async with whole.database.connection() as connection:
        found = await find_key(connection, key)
    if found is None:
        return None
    caller = Caller(found.prefix, found.name, found.role, found.scope)
    left = math.inf if found.expires_at is None else (found.expires_at - whole.clock()).total_seconds()
    whole.keys.remember(key, caller, generation, left)
    return caller


def _take(request: Request, buckets: Buckets, name: str, what: str) -> None:
    taken = buckets.take(name)
    request.scope[RATE][:] = [what, buckets.rate, taken]
    if not taken.is_allowed:
        raise _too_often(
            f"this {what} asks more than {buckets.rate.per_second:g} times a second", buckets, name, taken
        )


def _too_often(detail: str, buckets: Buckets, name: str, taken: Taken | None = None) -> ProblemError:
    wait = (taken or buckets.take(name)).wait
    return ProblemError(
        ProblemType.TOO_MANY, f"{detail}; wait {wait} s", headers={"Retry-After": str(max(1, wait))}
    )


def _named(key: str | None) -> str:
    """Return what is put on record of a key that is not valid: of a real one, what may be shown."""
    if not key:
        return "no key"
    return prefix_of(key) or "a wrong key"


def _unauthorized(key: str | None) -> ProblemError:
    what = "this API key is not valid or has expired" if key else "no API key was sent"
    return ProblemError(
        ProblemType.UNAUTHORIZED,
        f'{what}; send "Authorization: Bearer KEY" or "X-API-Key: KEY"',
        headers={"WWW-Authenticate": 'Bearer realm="alatau"'},
    )
