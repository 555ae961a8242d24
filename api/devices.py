"""Devices: listing them, one of them, registering a new one."""

from __future__ import annotations

import urllib.parse
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, StringConstraints, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api, Asking, act, address_of, require_in_scope
from api.auditing import Refusal
from api.broker_address import AUTHORITY_PATH, broker_address
from api.contract import BODY, PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.description import problem
from api.members import ANSWER, DeviceId, DistrictName, KindName, Moment, Next, Position, Seconds, Simulated
from api.options import DeviceAccounts
from api.parameters import no_such_device, parse_moment, require_known
from api.problems import ProblemError, ProblemType, unavailable
from api.responses import answer, next_page
from api.services import Services, Whole
from broker.errors import BrokerError
from broker.secrets import generate_secret, hash_secret
from broker.snippets import Account, Address, Language, snippets
from sensors.catalogue import Catalogue
from sensors.errors import CatalogueError
from sensors.kinds import DeviceSpec
from sensors.statuses import Said
from sensors.times import to_microseconds
from sensors.topics import DEVICE_ID, Channel
from storage.audit import record
from storage.devices import (
    Credential,
    Device,
    find_device,
    list_devices,
    register_devices,
)
from storage.kinds import Connection

router = APIRouter(prefix=f"{PREFIX}/devices", tags=["devices"])

_SCOPE = "devices"


class DeviceFilter(BaseModel):
    """Which devices, page by page."""

    kind: str | None = None
    district: str | None = None
    simulated: bool | None = None
    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=1000)


# The database's text holds every character but NUL.
Text = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]


class NewDevice(BaseModel):
    """A device to be registered."""

    model_config = BODY

    id: str = Field(description='1 to 64 letters, digits, ".", "_", ":", "-".', examples=["air-gate-0042"])
    kind: str = Field(examples=["air_quality"])
    district: str = Field(examples=["gate"])
    position: tuple[float, float] | None = Field(
        None, description="[longitude, latitude], WGS 84.", examples=[[77.0, 43.48]]
    )
    interval: str | None = Field(
        None,
        description="Expected time between readings, ISO 8601; the kind's if left out.",
        examples=["PT1M"],
    )
    installed: str | None = Field(None, description="RFC 3339 with zone.", examples=["2026-01-01T00:00:00Z"])
    simulated: bool = False
    metadata: dict[Text, bool | float | Text] = Field({}, max_length=100)


@with_config(ANSWER)
class StatusAnswer(TypedDict):
    """What a device, or its last will, said on its `status` topic."""

    said: Annotated[Said, Field(description="As it was said.", examples=["online"])]
    at: Annotated[Moment, Field(description="When that was heard, UTC.")]


@with_config(ANSWER)
class DeviceAnswer(TypedDict):
    """A registered device."""

    id: DeviceId
    kind: KindName
    district: DistrictName
    position: Position | None
    interval_seconds: Annotated[Seconds, Field(description="Expected between two readings, s.")]
    installed: Annotated[Moment | None, Field(description="From when readings are expected, UTC.")]
    simulated: Simulated
    metadata: Annotated[
        dict[str, bool | float | str], Field(description="What `tag` finds.", examples=[{"pole": 7.0}])
    ]
    registered_at: Moment
    disabled: Annotated[bool, Field(description="The broker does not let it in.", examples=[False])]
    old_secret_until: Annotated[
        Moment | None, Field(description="Until when its old secret is good beside the new one, UTC.")
    ]
    status: Annotated[
        StatusAnswer | None,
        Field(description="What it said last of itself, or its last will said; null if it never did."),
    ]
    stored_through: Annotated[
        int | None,
        Field(
            description="Up to which number all its readings are kept, as its last receipt says; null without.",
            examples=[1203],
        ),
    ]


@with_config(ANSWER)
class DevicesAnswer(TypedDict):
    """A page of devices, in the order of their ids."""

    devices: list[DeviceAnswer]
    next: Next


@with_config(ANSWER)
class SnippetAnswer(TypedDict):
    """How to send readings with the secret."""

    language: Annotated[Language, Field(description="What it is written in.", examples=["python"])]
    title: Annotated[str, Field(description="What that is called.", examples=["Python"])]
    file: Annotated[
        str | None, Field(description="Name for a file of it; null of a command.", examples=["device.py"])
    ]
    text: Annotated[str, Field(description="To be pasted as it is.", examples=["import json …"])]


# "try" is no name that a class can have.
_FirstSteps = TypedDict(
    "_FirstSteps",
    {
        "user": Annotated[
            str,
            Field(
                description="Its user name at the broker, for this secret. Its client id is its id.",
                examples=["sample-air-1"],
            ),
        ],
        "secret": Annotated[str, Field(description="At the broker; shown only here.", examples=["SwbR…"])],
        "broker": Annotated[
            str, Field(description="Where it finds the broker.", examples=["mqtts://mqtt.alatau.kz:8883"])
        ],
        "topic": Annotated[
            str,
            Field(description="Where it publishes readings.", examples=["alatau/v1/sample-air-1/telemetry"]),
        ],
        "authority": Annotated[
            str | None,
            Field(
                description="Where the certificate is that it trusts, to be kept as `ca.pem`; null where that is "
                "one of the system's, or nothing is encrypted.",
                examples=[AUTHORITY_PATH],
            ),
        ],
        "try": Annotated[
            str,
            Field(
                description="A command that sends a reading.",
                examples=["mosquitto_pub -h 127.0.0.1 -p 1883 -V 5 -q 1 …"],
            ),
        ],
        "snippets": Annotated[
            list[SnippetAnswer], Field(description="The same, and programs that send readings, to be pasted.")
        ],
    },
)


@with_config(ANSWER)
class NewDeviceAnswer(DeviceAnswer, _FirstSteps):
    """A device with a new secret."""


@router.get("", response_model=DevicesAnswer)
async def get_devices(request: Request, api: Api, query: Annotated[DeviceFilter, Query()]) -> Response:
    """List devices in the order of their ids."""
    require_known("kind", [query.kind] if query.kind else (), api.catalogue.kind_of)
    require_known("district", [query.district] if query.district else (), api.catalogue.district_of)
    after = decode_cursor(query.cursor, _SCOPE, str)[0] if query.cursor else ""
    async with api.database.connection() as connection:
        devices = await list_devices(
            connection,
            after=after,
            limit=query.limit,
            kind=query.kind,
            district=query.district,
            simulated=query.simulated,
        )
    cursor = encode_cursor(_SCOPE, devices[-1].id) if len(devices) == query.limit else None
    content: DevicesAnswer = {"devices": [shape(device) for device in devices], "next": cursor}
    return answer(content, headers=next_page(request, cursor))


def shape(device: Device) -> DeviceAnswer:
    """Return a device as it is answered."""
    return {
        "id": device.id,
        "kind": device.kind,
        "district": device.district,
        "position": device.position,
        "interval_seconds": device.interval_seconds,
        "installed": device.installed,
        "simulated": device.simulated,
        "metadata": device.metadata,
        "registered_at": device.registered_at,
        "disabled": device.disabled_at is not None,
        "old_secret_until": device.old_secret_until,
        "status": None if device.status is None else {"said": device.status.said, "at": device.status.at},
        "stored_through": device.stored_through,
    }


async def require_device(connection: Connection, device: str) -> Device:
    """Return a device, or raise the problem that names the nearest."""
    found = await find_device(connection, device) if DEVICE_ID.fullmatch(device) else None
    if found is None:
        raise await no_such_device(connection, device)
    return found


@router.get("/{device}", response_model=DeviceAnswer)
async def get_device(device: str, api: Api) -> Response:
    """Return one device."""
    async with api.database.connection() as connection:
        return answer(shape(await require_device(connection, device)))


@router.post("", status_code=201, response_model=NewDeviceAnswer, responses={409: problem(409)})
async def post_device(request: Request, body: NewDevice, api: Api, whole: Whole, caller: Asking) -> Response:
    """Register a device at the database and at the broker. Its secret is in this answer and never again."""
    accounts = accounts_of(api)
    spec = _spec(body, api.catalogue, to_microseconds(api.clock()))
    require_in_scope(request, whole, caller, "kind", spec.kind, caller.scope.kinds)
    require_in_scope(request, whole, caller, "district", spec.district, caller.scope.districts)
    address, secret = broker_address(api.options), generate_secret()
    async with api.database.connection() as connection, connection.transaction():
        try:
            device = await _register(connection, spec, api.catalogue, secret, accounts)
        except ProblemError as error:
            if error.kind is ProblemType.CONFLICT:
                whole.auditor.refused(Refusal(caller.actor, "register device", address_of(request), spec.id))
            raise
        await record(connection, [act(request, caller, "register device", spec.id)])
    content = with_secret(api, address, device, spec.id, secret)
    return answer(
        content,
        status=201,
        headers={
            "Location": f"{PREFIX}/devices/{urllib.parse.quote(spec.id)}",
            "Cache-Control": "no-store",
        },
    )


def _spec(body: NewDevice, catalogue: Catalogue, now: int) -> DeviceSpec:
    require_known("kind", [body.kind], catalogue.kind_of)
    require_known("district", [body.district], catalogue.district_of)
    if body.installed is not None:
        parse_moment("installed", body.installed, now)
    return DeviceSpec(**body.model_dump())


async def _register(
    connection: Connection, spec: DeviceSpec, catalogue: Catalogue, secret: str, accounts: DeviceAccounts
) -> Device:
    """Register a device in the database and at the broker, or in neither."""
    async with connection.transaction():
        try:
            added = await register_devices(connection, [spec], catalogue, {spec.id: credential_of(secret)})
        except CatalogueError as error:
            raise ProblemError(ProblemType.INVALID_BODY, str(error)) from None
        if not added:
            raise ProblemError(
                ProblemType.CONFLICT,
                f'a device has the id "{spec.id}" already; {await _where_it_is(connection, spec.id)}',
            )
        device = await require_device(connection, spec.id)
        try:
            # Last, so that only the commit can fail after it; the same request again mends that.
            await accounts.add_device(spec.id, secret)
        except BrokerError as error:
            raise unavailable(f"the device was not registered: {error}") from error
    return device


async def _where_it_is(connection: Connection, device: str) -> str:
    # One of the whole city, that the key's scope may leave out.
    is_seen = await find_device(connection, device) is not None
    return f"GET {router.prefix}/{device} shows it" if is_seen else "choose another"


def accounts_of(api: Services) -> DeviceAccounts:
    """Return who changes the broker's accounts, or raise the problem that nobody may."""
    if api.accounts is None:
        raise unavailable(
            "devices can't be registered or changed: this API has no administrator's account at the broker; "
            "set ALATAU_MQTT_URL and ALATAU_BROKER_ADMIN_PASSWORD and start it again",
            retry_after_seconds=60,
        )
    return api.accounts


def credential_of(secret: str) -> Credential:
    """Return what is stored of a secret."""
    hashed = hash_secret(secret)
    return Credential(hashed.salt, hashed.hash, hashed.iterations)


def with_secret(api: Services, address: Address, device: Device, user: str, secret: str) -> NewDeviceAnswer:
    """Return a device with its new secret and how to use that."""
    kind = api.catalogue.kind_of[device.kind]
    made = snippets(address, Account(device.id, user, secret, kind, device.interval_seconds))
    return {
        **shape(device),
        "user": user,
        "secret": secret,
        "broker": api.options.mqtt_url,
        "topic": address.topics.of(device.id, Channel.TELEMETRY),
        "authority": AUTHORITY_PATH if address.trust else None,
        "try": made[0].text,
        "snippets": [
            {"language": one.language, "title": one.title, "file": one.file, "text": one.text} for one in made
        ],
    }
