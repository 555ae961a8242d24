"""Where alerts are delivered to: making destinations, changing, testing and deleting them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api, Asking, act
from api.contract import BODY, PREFIX
from api.deliveries import DeliveryAnswer, delivery_answer, require_delivery
from api.description import problem
from api.members import ANSWER, Moment
from api.parameters import require_known
from api.problems import ProblemError, ProblemType
from api.responses import answer
from api.services import Services
from sensors.alerts import Severity
from sensors.destinations import (
    DESTINATION_NAME,
    MOST_PER_MINUTE,
    MOST_RECIPIENTS,
    PER_MINUTE,
    SECRET_GRACE,
    Destination,
    DestinationError,
    DestinationType,
    check_destination,
    generate_webhook_secret,
)
from sensors.messages import Language
from storage.audit import record
from storage.destinations import (
    StoredDestination,
    add_destination,
    change_destination,
    delete_destination,
    find_destination,
    list_destinations,
    order_test,
    replace_secret,
)
from storage.kinds import Connection

router = APIRouter(prefix=f"{PREFIX}/destinations", tags=["alerts"])

Name = Annotated[str, Field(description="Names it.", examples=["control-room"])]
Url = Annotated[
    str | None,
    Field(description="Of a webhook, with https://.", examples=["https://example.org/alerts"]),
]
Told = Annotated[
    Language, Field(description="Of titles and sentences, and of all in a mail.", examples=["kk"])
]
Least = Annotated[Severity, Field(description="The least severity that is delivered.", examples=["warning"])]


class ChangedDestination(BaseModel):
    """How a destination is to be, all of it; its name and type stay."""

    model_config = BODY | {
        "json_schema_extra": {"examples": [{"severity": "critical", "districts": ["gate"]}]}
    }

    url: Url = None
    recipients: list[str] = Field(
        default=[], max_length=MOST_RECIPIENTS, description="Of e-mail: their addresses."
    )
    severity: Least = Severity.WARNING
    districts: list[str] | None = Field(
        default=None, min_length=1, description="Only alerts of these; null: of all, and of none."
    )
    kinds: list[str] | None = Field(
        default=None, min_length=1, description="Only alerts of these; null: of all, and of none."
    )
    per_minute: int | None = Field(
        default=None,
        ge=1,
        le=MOST_PER_MINUTE,
        description="Messages a minute; null: what is usual for its type.",
    )
    enabled: bool = Field(
        default=True, description="Whether alerts go there; what waits goes on when it is enabled."
    )
    language: Told = Language.ENGLISH


class NewDestination(ChangedDestination):
    """A destination to be made."""

    model_config = BODY | {
        "json_schema_extra": {
            "examples": [{"name": "control-room", "type": "webhook", "url": "https://example.org/alerts"}]
        }
    }

    name: str = Field(
        description='1 to 32 of a to z, 0 to 9 and "-" between them.',
        pattern=f"^{DESTINATION_NAME.pattern}$",
        examples=["control-room"],
    )
    type: DestinationType = Field(description="How.", examples=["webhook"])


@with_config(ANSWER)
class DestinationAnswer(TypedDict):
    """A destination, and how its deliveries go."""

    name: Name
    type: Annotated[DestinationType, Field(description="How.", examples=["webhook"])]
    url: Url
    recipients: Annotated[list[str], Field(description="Of e-mail.", examples=[["duty@example.org"]])]
    severity: Least
    districts: Annotated[list[str] | None, Field(description="null: all.", examples=[["gate"]])]
    kinds: Annotated[list[str] | None, Field(description="null: all.", examples=[["air_quality"]])]
    per_minute: Annotated[int, Field(description="Messages a minute, at most.", examples=[120])]
    enabled: Annotated[bool, Field(description="Whether alerts go there.", examples=[True])]
    language: Told
    created_at: Moment
    created_by: Annotated[
        str, Field(description="The key, or who used the command line.", examples=["0123456789ab (ops)"])
    ]
    changed_at: Moment
    waiting: Annotated[int, Field(description="Deliveries that wait.", examples=[0])]
    dead: Annotated[int, Field(description="Deliveries that were given up.", examples=[0])]
    delivered_at: Annotated[Moment | None, Field(description="UTC, the last time; null: never.")]
    last_error: Annotated[
        str | None,
        Field(description="Of the newest delivery that failed.", examples=["status 500"]),
    ]


@with_config(ANSWER)
class SecretDestinationAnswer(DestinationAnswer):
    """A destination with a new secret."""

    secret: Annotated[
        str | None,
        Field(
            description="What a webhook's messages are signed with: in this answer, and never again.",
            examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        ),
    ]


@with_config(ANSWER)
class DestinationsAnswer(TypedDict):
    """All destinations, by name."""

    destinations: Annotated[list[DestinationAnswer], Field(description="Those that are disabled, too.")]


def _shape(stored: StoredDestination) -> DestinationAnswer:
    one = stored.destination
    return {
        "name": one.name,
        "type": one.type,
        "url": one.url,
        "recipients": list(one.recipients),
        "severity": one.severity,
        "districts": _list(one.districts),
        "kinds": _list(one.kinds),
        "per_minute": one.per_minute,
        "enabled": one.is_enabled,
        "language": one.language,
        "created_at": stored.created_at,
        "created_by": stored.created_by,
        "changed_at": stored.changed_at,
        "waiting": stored.waiting,
        "dead": stored.dead,
        "delivered_at": stored.delivered_at,
        "last_error": stored.last_error,
    }


def _list(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)


@router.get("", response_model=DestinationsAnswer)
async def get_destinations(api: Api) -> Response:
    """List all destinations. Nobody can be shown the secret of one."""
    async with api.database.connection() as connection:
        content: DestinationsAnswer = {
            "destinations": [_shape(one) for one in await list_destinations(connection)]
        }
    return answer(content)


@router.post("", status_code=201, response_model=SecretDestinationAnswer, responses={409: problem(409)})
async def post_destination(request: Request, body: NewDestination, api: Api, caller: Asking) -> Response:
    """Have alerts delivered to a webhook, by e-mail or at the broker. The secret of a webhook is in this answer and
    never again."""
    destination = _described(api, body.name, body.type, body)
    secret = generate_webhook_secret() if body.type is DestinationType.WEBHOOK else None
    async with api.database.connection() as connection, connection.transaction():
        if not await add_destination(connection, destination, secret, caller.actor):
            raise ProblemError(
                ProblemType.CONFLICT, f'a destination has the name "{body.name}" already; choose another'
            )
        await record(connection, [act(request, caller, "add destination", body.name, type=body.type.value)])
        made = await _require(connection, body.name)
    content: SecretDestinationAnswer = {**_shape(made), "secret": secret}
    return answer(content, status=201, headers={"Cache-Control": "no-store"})


@router.put("/{destination}", response_model=DestinationAnswer)
async def put_destination(
    request: Request, destination: str, body: ChangedDestination, api: Api, caller: Asking
) -> Response:
    """Change a destination: all of it but its name, its type and its secret."""
    async with api.database.connection() as connection, connection.transaction():
        stored = await _require(connection, destination)
        changed = _described(api, destination, stored.destination.type, body)
        await change_destination(connection, changed)
        detail = {"enabled": changed.is_enabled, "severity": changed.severity.value}
        await record(connection, [act(request, caller, "change destination", destination, **detail)])
        content = _shape(await _require(connection, destination))
    return answer(content)


@router.delete("/{destination}", status_code=204)
async def delete(request: Request, destination: str, api: Api, caller: Asking) -> Response:
    """Delete a destination, with what waits for it."""
    async with api.database.connection() as connection, connection.transaction():
        await _require(connection, destination)
        await delete_destination(connection, destination)
        await record(connection, [act(request, caller, "delete destination", destination)])
    return Response(status_code=204)


@router.post("/{destination}/secret", response_model=SecretDestinationAnswer, responses={409: problem(409)})
async def post_secret(request: Request, destination: str, api: Api, caller: Asking) -> Response:
    """Give a webhook another secret: in this answer, and never again. For a day its messages are signed with the old
    one, too."""
    secret = generate_webhook_secret()
    async with api.database.connection() as connection, connection.transaction():
        await _require(connection, destination)
        if not await replace_secret(connection, destination, secret, SECRET_GRACE):
            raise ProblemError(ProblemType.CONFLICT, f"{destination} is no webhook; only these have a secret")
        await record(connection, [act(request, caller, "replace secret of destination", destination)])
        content: SecretDestinationAnswer = {
            **_shape(await _require(connection, destination)),
            "secret": secret,
        }
    return answer(content, headers={"Cache-Control": "no-store"})


@router.post("/{destination}/test", status_code=202, response_model=DeliveryAnswer)
async def post_test(request: Request, destination: str, api: Api, caller: Asking) -> Response:
    """Have a message sent that says it is a test; `GET /api/v1/deliveries/{number}` tells what came of it. It is tried
    once."""
    async with api.database.connection() as connection, connection.transaction():
        await _require(connection, destination)
        number = await order_test(connection, destination)
        await record(connection, [act(request, caller, "test destination", destination)])
        ordered = await require_delivery(connection, number or 0)
    return answer(delivery_answer(ordered), status=202)


def _described(api: Services, name: str, type_: DestinationType, body: ChangedDestination) -> Destination:
    """Return the destination that a body describes. Raises a problem where it is not valid."""
    for what, given, valid in (
        ("districts", body.districts, api.catalogue.district_of),
        ("kinds", body.kinds, api.catalogue.kind_of),
    ):
        require_known(what, given or [], valid)
    destination = Destination(
        name=name,
        type=type_,
        url=body.url,
        recipients=tuple(body.recipients),
        severity=body.severity,
        districts=None if body.districts is None else tuple(body.districts),
        kinds=None if body.kinds is None else tuple(body.kinds),
        per_minute=body.per_minute or PER_MINUTE[type_],
        is_enabled=body.enabled,
        language=body.language,
    )
    try:
        check_destination(destination, api.options.webhook_networks)
    except DestinationError as error:
        raise ProblemError(ProblemType.INVALID_BODY, str(error)) from None
    return destination


async def _require(connection: Connection, name: str) -> StoredDestination:
    found = await find_destination(connection, name) if DESTINATION_NAME.fullmatch(name) else None
    if found is None:
        raise ProblemError(
            ProblemType.NOT_FOUND, f'there is no destination "{name[:80]}"; GET {router.prefix} lists them'
        )
    return found
