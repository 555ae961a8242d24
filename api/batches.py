"""Batches of devices that register themselves: making one, listing them, revoking one."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api, Asking, act, require_in_scope
from api.contract import BODY, PREFIX
from api.description import problem
from api.devices import accounts_of, credential_of
from api.members import ANSWER, DistrictName, KindName, Moment
from api.options import DeviceAccounts
from api.parameters import require_known
from api.problems import ProblemError, ProblemType, unavailable
from api.responses import answer
from api.services import Services, Whole
from broker.errors import BrokerError
from broker.secrets import generate_secret
from sensors.claims import BATCH_NAME, LONGEST_LIFE, MOST_PLACES, batch_users, parse_life
from storage.audit import record
from storage.claims import Batch, BatchState, add_batch, find_batch, list_batches, revoke_batch
from storage.kinds import Connection

router = APIRouter(prefix=f"{PREFIX}/batches", tags=["devices"])


class NewBatch(BaseModel):
    """A batch to be made."""

    model_config = BODY

    name: str = Field(
        description='1 to 32 of a to z, 0 to 9 and "-" between them.',
        pattern=f"^{BATCH_NAME.pattern}$",
        examples=["lamps-2026"],
    )
    kind: str = Field(examples=["street_light"])
    district: str = Field(examples=["gate"])
    count: int = Field(ge=1, le=MOST_PLACES, description="So many devices may be claimed.", examples=[500])
    lifetime: str = Field(
        description=f"For how long, ISO 8601, at most P{LONGEST_LIFE.days}D.", examples=["P7D"]
    )


@with_config(ANSWER)
class BatchAnswer(TypedDict):
    """A batch, without its token."""

    name: Annotated[str, Field(description="Names it.", examples=["lamps-2026"])]
    kind: KindName
    district: DistrictName
    count: Annotated[int, Field(description="So many devices may be claimed.", examples=[500])]
    used: Annotated[int, Field(description="So many were.", examples=[17])]
    state: Annotated[
        BatchState, Field(description="Whether devices can be claimed, or why not.", examples=["open"])
    ]
    created_at: Moment
    created_by: Annotated[
        str,
        Field(description="The key, or who used the command line.", examples=["0123456789ab (installers)"]),
    ]
    expires_at: Moment
    revoked_at: Annotated[Moment | None, Field(description="UTC; null: it is not.")]


@with_config(ANSWER)
class NewBatchAnswer(BatchAnswer):
    """A new batch."""

    token: Annotated[
        str,
        Field(
            description="For the image of the devices: in this answer, and never again.", examples=["SwbR…"]
        ),
    ]
    users: Annotated[
        list[str],
        Field(
            description="User names at the broker that go with it, each its own client id.",
            examples=[["alatau-claim-lamps-2026-00"]],
        ),
    ]


@with_config(ANSWER)
class BatchesAnswer(TypedDict):
    """All batches, the newest first."""

    batches: Annotated[list[BatchAnswer], Field(description="Those that are over, too.")]


def _shape(batch: Batch) -> BatchAnswer:
    return {
        "name": batch.name,
        "kind": batch.kind,
        "district": batch.district,
        "count": batch.places,
        "used": batch.used,
        "state": batch.state,
        "created_at": batch.created_at,
        "created_by": batch.created_by,
        "expires_at": batch.expires_at,
        "revoked_at": batch.revoked_at,
    }


@router.get("", response_model=BatchesAnswer)
async def get_batches(api: Api) -> Response:
    """List all batches, those that are over, too. Nobody can be shown a token: only its hash is kept."""
    async with api.database.connection() as connection:
        content: BatchesAnswer = {"batches": [_shape(one) for one in await list_batches(connection)]}
    return answer(content)


@router.post("", status_code=201, response_model=NewBatchAnswer, responses={409: problem(409)})
async def post_batch(request: Request, body: NewBatch, api: Api, whole: Whole, caller: Asking) -> Response:
    """Make a batch: with its token so many devices register themselves. It is in this answer and never again."""
    require_known("kind", [body.kind], api.catalogue.kind_of)
    require_known("district", [body.district], api.catalogue.district_of)
    require_in_scope(request, whole, caller, "kind", body.kind, caller.scope.kinds)
    require_in_scope(request, whole, caller, "district", body.district, caller.scope.districts)
    accounts = _accounts_of(api)
    lasting, token = _life(body.lifetime), generate_secret()
    async with api.database.connection() as connection, connection.transaction():
        place, stored = (body.kind, body.district), credential_of(token)
        if not await add_batch(connection, body.name, place, body.count, lasting, stored, caller.actor):
            raise ProblemError(
                ProblemType.CONFLICT, f'a batch has the name "{body.name}" already; choose another'
            )
        detail = {"kind": body.kind, "district": body.district, "count": body.count}
        await record(connection, [act(request, caller, "add batch", body.name, **detail)])
        batch = await _require(connection, body.name)
        try:
            await accounts.add_devices([(user, token) for user in batch_users(body.name)])
        except BrokerError as error:
            raise unavailable(f"the batch was not made: {error}") from error
    content: NewBatchAnswer = {**_shape(batch), "token": token, "users": batch_users(body.name)}
    return answer(content, status=201, headers={"Cache-Control": "no-store"})


@router.delete("/{batch}", response_model=BatchAnswer)
async def delete(request: Request, batch: str, api: Api, caller: Asking) -> Response:
    """Revoke a batch: nobody claims with it any more, at once. Devices that were claimed stay."""
    accounts = accounts_of(api)
    async with api.database.connection() as connection, connection.transaction():
        await _require(connection, batch)
        await revoke_batch(connection, batch)
        await record(connection, [act(request, caller, "revoke batch", batch)])
        revoked = await _require(connection, batch)
        try:
            await accounts.delete_accounts(batch_users(batch))
        except BrokerError as error:
            raise unavailable(f"nothing was changed: {error}") from error
    return answer(_shape(revoked))


async def _require(connection: Connection, name: str) -> Batch:
    found = await find_batch(connection, name) if BATCH_NAME.fullmatch(name) else None
    if found is None:
        raise ProblemError(
            ProblemType.NOT_FOUND, f'there is no batch "{name[:80]}"; GET {router.prefix} lists them'
        )
    return found


def _life(text: str) -> dt.timedelta:
    try:
        return parse_life(text)
    except ValueError as error:
        raise ProblemError(ProblemType.INVALID_BODY, f"lifetime: {error}") from None


def _accounts_of(api: Services) -> DeviceAccounts:
    if api.accounts is not None and api.options.claims is None:
        raise unavailable(
            "this API hears no claims: it has no account for that at the broker; set ALATAU_BROKER_CLAIMS_PASSWORD "
            "and start it again",
            retry_after_seconds=60,
        )
    return accounts_of(api)
