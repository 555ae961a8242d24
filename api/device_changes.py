"""A device's life: keeping it out and letting it in, a new secret, deleting it."""

from __future__ import annotations

import contextlib
import datetime as dt
import urllib.parse
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.access import Api, Asking, act
from api.broker_address import broker_address
from api.contract import BODY
from api.description import problem
from api.devices import (
    DeviceAnswer,
    NewDeviceAnswer,
    accounts_of,
    credential_of,
    require_device,
    shape,
    with_secret,
)
from api.devices import router as devices
from api.keys import Caller
from api.options import DeviceAccounts
from api.problems import ProblemError, ProblemType, unavailable
from api.responses import answer
from api.services import Services
from broker.errors import BrokerError
from broker.secrets import generate_secret
from sensors.accounts import parse_grace, user_names
from storage.audit import record
from storage.devices import (
    delete_device,
    disable_device,
    enable_device,
)
from storage.kinds import Connection
from storage.rotations import RotationError, replace_credential

router = APIRouter(prefix=devices.prefix, tags=["devices"])


class NewSecret(BaseModel):
    """How a secret is replaced."""

    model_config = BODY

    grace: str = Field(
        "PT0S",
        description="For how long the old secret stays good beside the new one, ISO 8601, at most P30D; PT0S ends it "
        "at once.",
        examples=["P1D"],
    )


_AT_ONCE = NewSecret(grace="PT0S")  # of a request without a body


@router.post("/{device}/disable", response_model=DeviceAnswer)
async def post_disable(request: Request, device: str, api: Api, caller: Asking) -> Response:
    """Keep a device out of the broker. Its connection is cut at once; what it has sent stays."""
    async with _changing(request, api, caller, device, "disable device") as (connection, accounts):
        await disable_device(connection, device)
        await accounts.disable_device(device)
        changed = await require_device(connection, device)
    return answer(shape(changed))


@router.post("/{device}/enable", response_model=DeviceAnswer)
async def post_enable(request: Request, device: str, api: Api, caller: Asking) -> Response:
    """Let a device in again that was disabled, with the secret that it has."""
    async with _changing(request, api, caller, device, "enable device") as (connection, accounts):
        await enable_device(connection, device)
        await accounts.enable_device(device)
        changed = await require_device(connection, device)
    return answer(shape(changed))


@router.post("/{device}/secret", response_model=NewDeviceAnswer, responses={409: problem(409)})
async def post_secret(
    request: Request, device: str, api: Api, caller: Asking, body: NewSecret = _AT_ONCE
) -> Response:
    """Give a device a new secret, which is in this answer and never again. The old one ends, and its connection: at
    once, or after `grace`. The new one then has a user name of its own, and the device takes both."""
    grace = _grace(body)
    address, secret = broker_address(api.options), generate_secret()
    detail = {"grace": f"PT{grace.total_seconds():.0f}S"} if grace else {}
    async with _changing(request, api, caller, device, "replace secret", **detail) as (connection, accounts):
        try:
            user = await replace_credential(connection, device, credential_of(secret), grace)
        except RotationError as error:
            raise ProblemError(ProblemType.ROTATING, str(error)) from None
        await accounts.add_device(user, secret)
        if not grace:
            await accounts.delete_accounts([name for name in user_names(device) if name != user])
        changed = await require_device(connection, device)
        if changed.disabled_at is not None:
            await accounts.disable_device(device)
    content = with_secret(api, address, changed, user, secret)
    return answer(content, headers={"Cache-Control": "no-store"})


def _grace(body: NewSecret) -> dt.timedelta:
    try:
        return parse_grace(body.grace)
    except ValueError as error:
        raise ProblemError(ProblemType.INVALID_BODY, f"grace: {error}") from None


@router.delete("/{device}", status_code=204, responses={409: problem(409)})
async def delete(request: Request, device: str, api: Api, caller: Asking) -> Response:
    """Delete a device that never had a reading. One that had is refused with 409: disable it."""
    async with _changing(request, api, caller, device, "delete device") as (connection, accounts):
        if not await delete_device(connection, device):
            raise ProblemError(
                ProblemType.HAS_READINGS,
                f'device "{device}" has, or had, readings, which belong to it; '
                f"POST {router.prefix}/{urllib.parse.quote(device)}/disable keeps it out",
            )
        await accounts.delete_device(device)
    return Response(status_code=204)


@contextlib.asynccontextmanager
async def _changing(
    request: Request, api: Services, caller: Caller, device: str, action: str, **detail: object
) -> AsyncIterator[tuple[Connection, DeviceAccounts]]:
    """Lend database and broker to a change of a device: of both, on record, or of neither.

    The broker comes last, so that only the commit can fail after it; the same request again mends that.
    """
    accounts = accounts_of(api)
    async with api.database.connection() as connection, connection.transaction():
        await require_device(connection, device)
        await record(connection, [act(request, caller, action, device, **detail)])
        try:
            yield connection, accounts
        except BrokerError as error:
            raise unavailable(f"nothing was changed: {error}") from error
