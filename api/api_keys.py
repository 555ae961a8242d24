"""API keys: making one, listing them, revoking one."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api, Asking, act
from api.contract import BODY, PREFIX
from api.devices import Text
from api.members import ANSWER, Moment
from api.parameters import parse_moment, require_known
from api.problems import ProblemError, ProblemType, invalid_parameter
from api.responses import answer
from sensors.catalogue import Catalogue
from sensors.times import format_timestamp, from_microseconds, to_microseconds
from storage.api_keys import (
    PREFIX as KEY_PREFIX,
)
from storage.api_keys import (
    ApiKey,
    Role,
    Scope,
    generate_key,
    list_keys,
    revoke_key,
    store_key,
)
from storage.audit import record

router = APIRouter(prefix=f"{PREFIX}/keys", tags=["keys"])

Name = Annotated[Text, Field(min_length=1, max_length=200)]


class NewKey(BaseModel):
    """A key to be made."""

    model_config = BODY

    name: Name = Field(description="For people: what it is used for.", examples=["air quality report"])
    role: Role = Field(description="Each may what those before it may.", examples=["viewer"])
    owner: Text = Field("", description="Who answers for it.", examples=["anna@example.org"])
    districts: list[str] | None = Field(
        None, min_length=1, description="It sees only these; all if left out.", examples=[["gate"]]
    )
    kinds: list[str] | None = Field(None, min_length=1, description="It sees only these; all if left out.")
    expires: str | None = Field(
        None,
        description="RFC 3339 with zone, or from now such as P90D; never if left out.",
        examples=["P90D"],
    )


Seen = Annotated[
    Annotated[list[str], Field(examples=[["gate"]])] | None,
    Field(description="It sees only these; null: all."),
]


@with_config(ANSWER)
class KeyAnswer(TypedDict):
    """A key, without its secret."""

    prefix: Annotated[
        str, Field(description="Names it; the part of the key that may be shown.", examples=["0123456789ab"])
    ]
    name: Annotated[str, Field(description="What it is used for.", examples=["air report"])]
    owner: Annotated[str, Field(description="Who answers for it.", examples=["anna@example.org"])]
    role: Annotated[Role, Field(description="What it may do.", examples=["analyst"])]
    districts: Seen
    kinds: Seen
    created_at: Annotated[Moment, Field(description="UTC.")]
    created_by: Annotated[
        Annotated[str, Field(examples=["0123456789ab (generated at the first start)"])] | None,
        Field(description="The key, or who used the command line."),
    ]
    expires_at: Annotated[Moment | None, Field(description="UTC; null: never.")]
    last_used_at: Annotated[Moment | None, Field(description="UTC, to some seconds; null: never.")]
    revoked_at: Annotated[Moment | None, Field(description="UTC; null: it is not.")]


@with_config(ANSWER)
class NewKeyAnswer(KeyAnswer):
    """A new key."""

    key: Annotated[
        str,
        Field(
            description="The whole key: in this answer, and never again.",
            examples=["alatau_0123456789ab_S0000000000000000000000000000000000000000000"],
        ),
    ]


@with_config(ANSWER)
class KeysAnswer(TypedDict):
    """All keys, in the order in which they were made."""

    keys: Annotated[list[KeyAnswer], Field(description="Revoked and expired ones too.")]


@router.get("", response_model=KeysAnswer)
async def get_keys(api: Api) -> Response:
    """List all keys, revoked and expired ones too. Nobody can be shown a key itself: only its hash is kept."""
    async with api.database.connection() as connection:
        content: KeysAnswer = {"keys": [_shape(key) for key in await list_keys(connection)]}
    return answer(content)


@router.post("", status_code=201, response_model=NewKeyAnswer)
async def post_key(request: Request, body: NewKey, api: Api, caller: Asking) -> Response:
    """Make a key. It is in this answer and never again."""
    scope = require_scope(api.catalogue, body.role, body.districts, body.kinds)
    key = generate_key()
    async with api.database.connection() as connection, connection.transaction():
        made = await store_key(
            connection,
            key,
            body.name,
            role=body.role,
            scope=scope,
            owner=body.owner,
            created_by=caller.actor,
            expires_at=_expiry(body.expires, to_microseconds(api.clock())),
        )
        await record(
            connection, [act(request, caller, "make key", made.prefix, name=made.name, role=made.role.value)]
        )
    content: NewKeyAnswer = {**_shape(made), "key": key}
    return answer(content, status=201, headers={"Cache-Control": "no-store"})


def require_scope(
    catalogue: Catalogue, role: Role, districts: list[str] | None, kinds: list[str] | None
) -> Scope:
    """Return the scope of these districts and kinds, all for None. Raises a problem where a role can't have it."""
    require_known("districts", districts or (), catalogue.district_of)
    require_known("kinds", kinds or (), catalogue.kind_of)
    if role is Role.ADMIN and (districts or kinds):
        raise invalid_parameter(
            "role", "an admin sees the whole city; leave districts and kinds out, or take operator"
        )
    return Scope(*(tuple(names) if names else None for names in (districts, kinds)))


def _expiry(text: str | None, now: int) -> dt.datetime | None:
    if text is None:
        return None
    moment = parse_moment("expires", text, now)
    if moment <= now:
        raise invalid_parameter(
            "expires", f"{format_timestamp(moment)} has passed; a key has to last for a while"
        )
    return from_microseconds(moment)


@router.delete("/{prefix}", status_code=200, response_model=KeyAnswer)
async def delete_key(
    request: Request,
    prefix: Annotated[str, Path(examples=["0123456789ab"], description="What names the key.")],
    api: Api,
    caller: Asking,
) -> Response:
    """Revoke a key. It is refused within a second; its name stays on record."""
    revoked = None
    async with api.database.connection() as connection, connection.transaction():
        if KEY_PREFIX.fullmatch(prefix):
            revoked = await revoke_key(connection, prefix)
        if revoked is not None:
            await record(connection, [act(request, caller, "revoke key", prefix, name=revoked.name)])
    if revoked is None:
        raise ProblemError(
            ProblemType.NOT_FOUND,
            f'no valid key has the prefix "{prefix[:80]}"; GET {router.prefix} lists them',
        )
    return answer(_shape(revoked))


def _shape(key: ApiKey) -> KeyAnswer:
    return {
        "prefix": key.prefix,
        "name": key.name,
        "owner": key.owner,
        "role": key.role,
        "districts": None if key.scope.districts is None else list(key.scope.districts),
        "kinds": None if key.scope.kinds is None else list(key.scope.kinds),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }
