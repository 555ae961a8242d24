"""People: adding them, what they may do and see, their passwords, disabling and deleting them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api, Asking, act
from api.api_keys import Seen, require_scope
from api.contract import BODY, PREFIX
from api.description import problem
from api.devices import Text
from api.keys import Caller
from api.members import ANSWER, Moment
from api.passwords import generate_password, objection
from api.problems import ProblemError, ProblemType, invalid_parameter
from api.responses import answer
from api.services import Services
from api.sessions import Password
from api.signing_in import user_name
from storage.api_keys import Role
from storage.audit import record
from storage.kinds import Connection
from storage.users import (
    USER_NAME,
    LastAdminError,
    NewUser,
    SignsInElsewhereError,
    User,
    add_user,
    delete_user,
    disable_user,
    enable_user,
    list_users,
    set_password,
    set_role,
)

router = APIRouter(prefix=f"{PREFIX}/users", tags=["users"])

Name = Annotated[str, Path(examples=["anna"], description="Of the user.")]
_TAKEN: dict[int | str, dict[str, Any]] = {409: problem(409)}
_ROLE = Field(description="Each may what those before it may.", examples=["analyst"])
_DISTRICTS = Field(
    None, min_length=1, description="They see only these; all if left out.", examples=[["gate"]]
)
_KINDS = Field(None, min_length=1, description="They see only these; all if left out.")
_PASSWORD = Field(None, description="At least 12 characters; one is generated if left out.")


class NewUserBody(BaseModel):
    """Somebody to be added."""

    model_config = BODY

    name: Text = Field(
        min_length=1,
        max_length=100,
        description="Letters of a to z, digits, `.`, `_`, `-`, `+` and `@`; large letters are taken as small ones.",
        examples=["anna"],
    )
    role: Role = _ROLE
    districts: list[str] | None = _DISTRICTS
    kinds: list[str] | None = _KINDS
    password: Password | None = _PASSWORD


class RoleBody(BaseModel):
    """What somebody may do and see from now on, all of it."""

    model_config = BODY

    role: Role = _ROLE
    districts: list[str] | None = Field(
        min_length=1, description="They see only these; null: all.", examples=[["gate"]]
    )
    kinds: list[str] | None = Field(
        min_length=1, description="They see only these; null: all.", examples=[None]
    )


class PasswordBody(BaseModel):
    """Another password of somebody."""

    model_config = BODY

    password: Password | None = _PASSWORD


@with_config(ANSWER)
class UserAnswer(TypedDict):
    """Somebody who may sign in."""

    name: Annotated[str, Field(description="Names them.", examples=["anna"])]
    role: Annotated[Role, Field(description="What they may do.", examples=["analyst"])]
    districts: Seen
    kinds: Seen
    has_password: Annotated[bool, Field(description="Else they sign in elsewhere.", examples=[True])]
    issuer: Annotated[
        Annotated[str, Field(examples=["https://login.example.org"])] | None,
        Field(description="Where they sign in, if elsewhere."),
    ]
    created_at: Annotated[Moment, Field(description="UTC.")]
    created_by: Annotated[
        Annotated[str, Field(examples=["user admin"])] | None,
        Field(description="The user or key, or who used the command line."),
    ]
    last_sign_in_at: Annotated[Moment | None, Field(description="UTC; null: never.")]
    disabled_at: Annotated[Moment | None, Field(description="UTC; null: they are not.")]


@with_config(ANSWER)
class UserPasswordAnswer(UserAnswer):
    """Somebody with a new password."""

    password: Annotated[
        Annotated[str, Field(examples=["aaaaaa-bbbbbb-cccccc-dddddd"])] | None,
        Field(description="The generated one: in this answer, and never again. Null where it was given."),
    ]


@with_config(ANSWER)
class UsersAnswer(TypedDict):
    """Everybody, by name."""

    users: Annotated[list[UserAnswer], Field(description="Disabled ones too.")]


@router.get("", response_model=UsersAnswer)
async def get_users(api: Api) -> Response:
    """List everybody who may sign in, and who is disabled."""
    async with api.database.connection() as connection:
        content: UsersAnswer = {"users": [_shape(user) for user in await list_users(connection)]}
    return answer(content)


@router.post("", status_code=201, response_model=UserPasswordAnswer, responses=_TAKEN)
async def post_user(request: Request, body: NewUserBody, api: Api, caller: Asking) -> Response:
    """Add somebody. A generated password is in this answer and never again."""
    name = user_name(body.name)
    if not USER_NAME.fullmatch(name):
        raise invalid_parameter(
            "name",
            "it has letters of a to z, digits, and after the first of them also . _ - + @, and not digits alone",
        )
    scope = require_scope(api.catalogue, body.role, body.districts, body.kinds)
    password = _require_password(body.password, name)
    new = NewUser(name, body.role, scope, await api.passwords.hash(password), created_by=caller.actor)
    async with api.database.connection() as connection, connection.transaction():
        made = await add_user(connection, new)
        if made is not None:
            await record(connection, [act(request, caller, "add user", name, role=made.role.value)])
    if made is None:
        raise ProblemError(ProblemType.CONFLICT, f"{name} is there already; choose another name")
    return _with_password(made, password, body.password, status=201)


@router.post("/{name}/role", response_model=UserAnswer, responses=_TAKEN)
async def post_role(request: Request, name: Name, body: RoleBody, api: Api, caller: Asking) -> Response:
    """Let somebody do and see this, and nothing else. All their sessions end."""
    scope = require_scope(api.catalogue, body.role, body.districts, body.kinds)

    def change(connection: Connection, name: str) -> Awaitable[User | None]:
        return set_role(connection, name, body.role, scope)

    user = await _change(request, api, caller, name, "change role of user", change, role=body.role.value)
    return answer(_shape(user))


@router.post("/{name}/password", response_model=UserPasswordAnswer, responses=_TAKEN)
async def post_user_password(
    request: Request, name: Name, body: PasswordBody, api: Api, caller: Asking
) -> Response:
    """Give somebody another password. A generated one is in this answer and never again. All their sessions end.

    Who signs in at an issuer has none here.
    """
    password = _require_password(body.password, user_name(name))
    made = await api.passwords.hash(password)

    def change(connection: Connection, name: str) -> Awaitable[User | None]:
        return set_password(connection, name, made)

    user = await _change(request, api, caller, name, "change password of user", change)
    return _with_password(user, password, body.password, status=200)


@router.post("/{name}/disable", response_model=UserAnswer, responses=_TAKEN)
async def post_disable(request: Request, name: Name, api: Api, caller: Asking) -> Response:
    """Let somebody in no more. All their sessions end."""
    return answer(_shape(await _change(request, api, caller, name, "disable user", disable_user)))


@router.post("/{name}/enable", response_model=UserAnswer)
async def post_enable(request: Request, name: Name, api: Api, caller: Asking) -> Response:
    """Let somebody in again, with the password that they have."""
    return answer(_shape(await _change(request, api, caller, name, "enable user", enable_user)))


@router.delete("/{name}", status_code=204, responses=_TAKEN)
async def delete_user_(request: Request, name: Name, api: Api, caller: Asking) -> Response:
    """Delete somebody. All their sessions end; what they did stays on record."""
    await _change(request, api, caller, name, "delete user", delete_user)
    return Response(status_code=204)


async def _change(
    request: Request,
    api: Services,
    caller: Caller,
    name: str,
    action: str,
    change: Callable[[Connection, str], Awaitable[User | None]],
    **detail: object,
) -> User:
    """Change somebody, on record. Raises a problem where there is nobody of this name, or it can't be done to them."""
    name, changed = user_name(name), None
    if USER_NAME.fullmatch(name):
        try:
            async with api.database.connection() as connection, connection.transaction():
                changed = await change(connection, name)
                if changed is not None:
                    await record(connection, [act(request, caller, action, name, **detail)])
        except (LastAdminError, SignsInElsewhereError) as error:
            raise ProblemError(ProblemType.CONFLICT, str(error)) from None
    if changed is None:
        raise ProblemError(
            ProblemType.NOT_FOUND, f'no user is called "{name[:80]}"; GET {router.prefix} lists them'
        )
    api.sessions.forget()
    return changed


def _require_password(given: str | None, name: str) -> str:
    """Return the given password, or a new one. Raises a problem where it will not do."""
    if given is None:
        return generate_password()
    if reason := objection(given, name):
        raise invalid_parameter("password", reason)
    return given


def _with_password(user: User, password: str, given: str | None, *, status: int) -> Response:
    content: UserPasswordAnswer = {**_shape(user), "password": password if given is None else None}
    return answer(content, status=status, headers={"Cache-Control": "no-store"})


def _shape(user: User) -> UserAnswer:
    return {
        "name": user.name,
        "role": user.role,
        "districts": None if user.scope.districts is None else list(user.scope.districts),
        "kinds": None if user.scope.kinds is None else list(user.scope.kinds),
        "has_password": user.has_password,
        "issuer": user.issuer,
        "created_at": user.created_at,
        "created_by": user.created_by,
        "last_sign_in_at": user.last_sign_in_at,
        "disabled_at": user.disabled_at,
    }
