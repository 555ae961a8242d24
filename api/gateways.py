"""Gateways, which speak for devices in another format: adding one, listing them, removing one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api, Asking, act
from api.broker_address import broker_address
from api.contract import BODY, PREFIX
from api.description import problem
from api.devices import accounts_of, credential_of
from api.members import ANSWER, Moment
from api.parameters import require_known
from api.problems import ProblemError, ProblemType, unavailable
from api.responses import answer
from broker.errors import BrokerError
from broker.gateway_guides import GatewayAccount, guide
from broker.secrets import generate_secret
from sensors.gateways import GATEWAY_NAME, gateway_client_id
from storage.audit import record
from storage.gateways import Gateway, add_gateway, list_gateways, remove_gateway

router = APIRouter(prefix=f"{PREFIX}/gateways", tags=["devices"])


class NewGateway(BaseModel):
    """A gateway to be added."""

    model_config = BODY

    name: str = Field(
        description='1 to 13 of a to z, 0 to 9 and "-" between them.',
        pattern=f"^{GATEWAY_NAME.pattern}$",
        examples=["lora"],
    )
    format: str = Field(description="What it speaks.", examples=["chirpstack"])


@with_config(ANSWER)
class GatewayAnswer(TypedDict):
    """A gateway, without its secret."""

    name: Annotated[str, Field(description="Names it.", examples=["lora"])]
    format: Annotated[str, Field(description="What it speaks.", examples=["chirpstack"])]
    user: Annotated[
        str, Field(description="Its user name at the broker.", examples=["alatau-gateway-chirpstack-lora"])
    ]
    client_id: Annotated[
        str,
        Field(description="The one client id that the broker lets it in with.", examples=["alatau-gw-lora"]),
    ]
    created_at: Moment
    created_by: Annotated[
        str,
        Field(description="The key, or who used the command line.", examples=["0123456789ab (installers)"]),
    ]
    disabled_at: Annotated[
        Moment | None, Field(description="Since when the broker keeps it out, UTC; null: it does not.")
    ]


@with_config(ANSWER)
class NewGatewayAnswer(GatewayAnswer):
    """A new gateway."""

    secret: Annotated[str, Field(description="In this answer, and never again.", examples=["SwbR…"])]
    configuration: Annotated[
        str,
        Field(
            description="What to paste where it is set up, with the secret in it.",
            examples=['[integration.mqtt]\nclient_id = "alatau-gw-lora"\n'],
        ),
    ]


@with_config(ANSWER)
class GatewaysAnswer(TypedDict):
    """All gateways."""

    gateways: Annotated[list[GatewayAnswer], Field(description="In the order of their names.")]


def _shape(gateway: Gateway) -> GatewayAnswer:
    return {
        "name": gateway.name,
        "format": gateway.format,
        "user": gateway.user,
        "client_id": gateway_client_id(gateway.name),
        "created_at": gateway.created_at,
        "created_by": gateway.created_by,
        "disabled_at": gateway.disabled_at,
    }


@router.get("", response_model=GatewaysAnswer)
async def get_gateways(api: Api) -> Response:
    """List all gateways. Nobody can be shown a secret: only its hash is kept."""
    async with api.database.connection() as connection:
        content: GatewaysAnswer = {"gateways": [_shape(one) for one in await list_gateways(connection)]}
    return answer(content)


@router.post("", status_code=201, response_model=NewGatewayAnswer, responses={409: problem(409)})
async def post_gateway(request: Request, body: NewGateway, api: Api, caller: Asking) -> Response:
    """Add a gateway: a server, edge node or bridge that speaks for devices. Its secret is in this answer and never
    again."""
    speeches = {speech.name: speech for speech in api.options.speeches if not speech.is_own}
    require_known("format", [body.format], speeches)
    accounts, address = accounts_of(api), broker_address(api.options)
    account = GatewayAccount(body.name, speeches[body.format], generate_secret())
    async with api.database.connection() as connection, connection.transaction():
        stored = credential_of(account.secret)
        added = await add_gateway(connection, body.name, body.format, stored, caller.actor)
        if added is None:
            raise ProblemError(
                ProblemType.CONFLICT, f'a gateway has the name "{body.name}" already; choose another'
            )
        await record(connection, [act(request, caller, "add gateway", body.name, format=body.format)])
        try:
            await accounts.add_device(account.user, account.secret)
        except BrokerError as error:
            raise unavailable(f"the gateway was not added: {error}") from error
    content: NewGatewayAnswer = {
        **_shape(added),
        "secret": account.secret,
        "configuration": guide(address, account),
    }
    return answer(content, status=201, headers={"Cache-Control": "no-store"})


@router.delete("/{gateway}", status_code=204, response_class=Response)
async def delete(request: Request, gateway: str, api: Api, caller: Asking) -> Response:
    """Remove a gateway; its session ends. What it has sent stays, and so do the devices that it spoke for."""
    accounts = accounts_of(api)
    async with api.database.connection() as connection, connection.transaction():
        removed = await remove_gateway(connection, gateway) if GATEWAY_NAME.fullmatch(gateway) else None
        if removed is None:
            raise ProblemError(
                ProblemType.NOT_FOUND, f'there is no gateway "{gateway[:80]}"; GET {router.prefix} lists them'
            )
        await record(connection, [act(request, caller, "remove gateway", gateway)])
        try:
            await accounts.delete_accounts([removed.user])
        except BrokerError as error:
            raise unavailable(f"nothing was changed: {error}") from error
    return Response(status_code=204)
