"""Sessions of people: signing in, who one is, signing out, another password of one's own."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Asking, act, address_of, take_turn_of_address, unauthorized
from api.api_keys import Seen
from api.auditing import Refusal
from api.contract import BODY, PREFIX
from api.cookies import CSRF_HEADER, clear_cookie, csrf_token, foreign, session_token, set_cookie
from api.description import problem
from api.devices import Text
from api.members import ANSWER, Moment
from api.passwords import LONGEST, objection
from api.problems import ProblemError, ProblemType, invalid_parameter
from api.responses import answer
from api.services import Whole
from api.signing_in import WRONG, check_password, let_in, renew_hash, user_name
from storage.api_keys import Role, Scope
from storage.audit import record
from storage.sessions import close_session, find_session, token_hash
from storage.users import hold_password, set_password

# Signing in takes no key and no session.
entrance = APIRouter(prefix=f"{PREFIX}/session", tags=["session"])
router = APIRouter(prefix=f"{PREFIX}/session", tags=["session"])

Password = Annotated[Text, Field(min_length=1, max_length=LONGEST)]
_NONE: dict[int | str, dict[str, Any]] = {404: problem(404)}


class SignIn(BaseModel):
    """Who signs in."""

    model_config = BODY

    name: Text = Field(min_length=1, max_length=200, description="Of the user.", examples=["admin"])
    password: Password = Field(description="Theirs.", examples=["four-words-of-an-example"])


class OwnPassword(BaseModel):
    """Another password of one's own."""

    model_config = BODY

    old_password: Password = Field(
        description="The one that there is.", examples=["four-words-of-an-example"]
    )
    password: Password = Field(
        description="At least 12 characters, of any kind.", examples=["other-words-of-an-example"]
    )


@with_config(ANSWER)
class SessionAnswer(TypedDict):
    """Who asks."""

    kind: Annotated[Literal["user", "key"], Field(description="A user's session, or an API key.")]
    name: Annotated[str, Field(description="Of the user or the key.", examples=["admin"])]
    role: Annotated[Role, Field(description="What they may do.", examples=["admin"])]
    districts: Seen
    kinds: Seen
    csrf_token: Annotated[
        Annotated[str, Field(examples=["S0000000000000000000000000000000000000000000"])] | None,
        Field(
            description=f"To be sent as {CSRF_HEADER} with what changes something; null: a key needs none."
        ),
    ]
    expires_at: Annotated[
        Moment | None, Field(description="UTC; the session ends then at the latest. Null of a key.")
    ]


@entrance.post("", status_code=201, response_model=SessionAnswer)
async def post_session(request: Request, body: SignIn, whole: Whole) -> Response:
    """Sign in. The session is in a cookie of the answer, and lasts 12 hours, or one without being used."""
    take_turn_of_address(request, whole)
    if (reason := foreign(request)) is not None:
        whole.auditor.refused(Refusal("another site", "sign in", address_of(request), "forged"))
        raise ProblemError(ProblemType.FORBIDDEN, reason)
    found = await check_password(request, whole, user_name(body.name), body.password, "sign in")
    if found is None:
        raise unauthorized(WRONG)
    user, stored = found
    async with whole.database.connection() as connection, connection.transaction():
        token = await let_in(connection, request, whole, user, by="password", password_hash=stored)
    await renew_hash(whole, user, stored, body.password)
    lifetimes = whole.options.sign_in.lifetimes
    content = _shape("user", user.name, user.role, user.scope, token, whole.clock() + lifetimes.whole)
    response = answer(content, status=201, headers={"Cache-Control": "no-store"})
    set_cookie(request, response, token, lifetimes)
    return response


@router.get("", response_model=SessionAnswer)
async def get_session(request: Request, whole: Whole, caller: Asking) -> Response:
    """Tell who asks, and the token that a script of the session has to show. Answers to a key as well."""
    token = session_token(request) if caller.is_person else None
    expires_at = None
    if token is not None:
        async with whole.database.connection() as connection:
            found = await find_session(connection, token, whole.clock(), whole.options.sign_in.lifetimes)
        if found is None:
            raise unauthorized("this session has just ended; sign in again on /sign-in")
        expires_at = found.expires_at
    kind: Literal["user", "key"] = "user" if caller.is_person else "key"
    content = _shape(kind, caller.name, caller.role, caller.scope, token, expires_at)
    return answer(content, headers={"Cache-Control": "no-store"})


@router.delete("", status_code=204, responses=_NONE)
async def delete_session(request: Request, whole: Whole, caller: Asking) -> Response:
    """Sign out: the session ends, in every process within a second."""
    token = _require_session(request, caller, "a key is revoked by DELETE /api/v1/keys/PREFIX")
    async with whole.database.connection() as connection, connection.transaction():
        await close_session(connection, token)
        await record(connection, [act(request, caller, "sign out", None)])
    whole.sessions.forget()
    response = Response(status_code=204)
    clear_cookie(request, response)
    return response


@router.post("/password", status_code=204, responses=_NONE)
async def post_password(request: Request, body: OwnPassword, whole: Whole, caller: Asking) -> Response:
    """Take another password. All other sessions of the same user end."""
    token = _require_session(request, caller, "a key has no password")
    if reason := objection(body.password, caller.name):
        raise invalid_parameter("password", reason)
    action = "change own password"
    checked = await check_password(request, whole, caller.name, body.old_password, action)
    if checked is None:
        raise _wrong_password()
    user, stored = checked
    made = await whole.passwords.hash(body.password)
    async with whole.database.connection() as connection, connection.transaction():
        # An admin may have given another one meanwhile, because this one is known to others.
        if not await hold_password(connection, user.user_id, stored):
            raise _wrong_password()
        await set_password(connection, caller.name, made, keep=token_hash(token))
        await record(connection, [act(request, caller, action, caller.name)])
    whole.sessions.forget()
    return Response(status_code=204)


def _wrong_password() -> ProblemError:
    return ProblemError(
        ProblemType.FORBIDDEN,
        "the old password is wrong; ask an admin for another one if it is forgotten, or if you sign in elsewhere",
    )


def _require_session(request: Request, caller: Asking, remedy: str) -> str:
    token = session_token(request)
    if token is None or not caller.is_person:
        raise ProblemError(ProblemType.NOT_FOUND, f"this is not the session of a user; {remedy}")
    return token


def _shape(
    kind: Literal["user", "key"],
    name: str,
    role: Role,
    scope: Scope,
    token: str | None,
    expires_at: dt.datetime | None,
) -> SessionAnswer:
    return {
        "kind": kind,
        "name": name,
        "role": role,
        "districts": None if scope.districts is None else list(scope.districts),
        "kinds": None if scope.kinds is None else list(scope.kinds),
        "csrf_token": None if token is None else csrf_token(token),
        "expires_at": expires_at,
    }
