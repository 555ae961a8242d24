"""Profiles of device models: which field of a message is which metric. They are of the whole city."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api, Asking, act, refuse
from api.contract import BODY, PREFIX
from api.description import problem
from api.devices import Text
from api.keys import Caller
from api.members import ANSWER, KindName, MetricName, Moment
from api.problems import ProblemError, ProblemType
from api.responses import answer
from api.services import Services
from api.sources import reader_of
from sensors.errors import did_you_mean
from sensors.profiles import MOST_FIELDS, ProfileError, check_profile
from sensors.profiles import Field as Mapping
from sensors.profiles import Profile as Content
from storage.alert_rules import Origin
from storage.audit import record
from storage.kinds import Connection
from storage.profiles import (
    ProfileUsedError,
    StoredProfile,
    delete_profile,
    find_profile,
    hold_profile,
    list_profiles,
    list_versions,
    put_profile,
)

router = APIRouter(prefix=f"{PREFIX}/profiles", tags=["profiles"])

_NAME = Path(
    max_length=64, pattern=r"^[^\x00]*$", description="Of the profile.", examples=["milesight-am300"]
)
_TITLE = Field(max_length=200, description="For people.", examples=["Milesight AM307, AM308, AM319"])
_FORMAT = Field(description="Of the messages.", examples=["chirpstack"])
_SOURCE = Field(description="Where the fields are written down.", examples=["the maker's manual"])
_FIELD = Field(
    min_length=1,
    max_length=300,
    description="Its name in the message, nested ones joined by dots.",
    examples=["pm2_5"],
)
_UNIT = Field(
    description="UCUM code; if left out, the one that the message says, else the metric's.",
    examples=["ug/m3"],
)
_SCALE = Field(description="`value × scale + offset` is in the unit.", examples=[1.0])
_OFFSET = Field(description="In the unit.", examples=[0.0])


class ProfileField(BaseModel):
    """A field of the message, and the metric that it is."""

    model_config = BODY

    field: Annotated[Text, _FIELD]
    metric: Annotated[Text, Field(description="Of the kind.", examples=["pm2_5"])]
    unit: Annotated[Text | None, _UNIT] = None
    scale: Annotated[float, _SCALE] = 1.0
    offset: Annotated[float, _OFFSET] = 0.0


class ChangedProfile(BaseModel):
    """A profile, but for its name."""

    model_config = BODY

    title: Annotated[Text, _TITLE]
    format: Annotated[Text, _FORMAT]
    kind: Annotated[Text, Field(description="Of the devices.", examples=["air_quality"])]
    map: list[ProfileField] = Field(
        min_length=1,
        max_length=MOST_FIELDS,
        description="Which field is which metric; others are left out.",
        examples=[[{"field": "pm2_5", "metric": "pm2_5"}]],
    )
    source: Annotated[Text, _SOURCE] = ""


@with_config(ANSWER)
class FieldAnswer(TypedDict):
    """A field of the message, and the metric that it is."""

    field: Annotated[str, _FIELD]
    metric: MetricName
    unit: Annotated[str | None, _UNIT]
    scale: Annotated[float, _SCALE]
    offset: Annotated[float, _OFFSET]


@with_config(ANSWER)
class _Content(TypedDict):
    name: Annotated[str, Field(description="Names it.", examples=["milesight-am300"])]
    title: Annotated[str, _TITLE]
    format: Annotated[str, _FORMAT]
    kind: KindName
    map: Annotated[list[FieldAnswer], Field(description="Which field is which metric.")]
    source: Annotated[str, _SOURCE]
    version: Annotated[int, Field(description="Rises with each change.", examples=[1])]
    changed_at: Moment
    changed_by: Annotated[str, Field(description="By whom.", examples=["alatau"])]


@with_config(ANSWER)
class ProfileAnswer(_Content):
    """A profile."""

    origin: Annotated[
        Origin,
        Field(
            description="`builtin`: it comes with Alatau and is renewed with it.", examples=[Origin.BUILTIN]
        ),
    ]
    sources: Annotated[int, Field(description="How many claimed sources name it.", examples=[0])]


@with_config(ANSWER)
class ProfilesAnswer(TypedDict):
    """All profiles."""

    profiles: Annotated[list[ProfileAnswer], Field(description="In the order of their names.")]


@with_config(ANSWER)
class VersionAnswer(_Content):
    """A profile as it was from a time on."""


@with_config(ANSWER)
class VersionsAnswer(TypedDict):
    """The last hundred versions of a profile."""

    versions: Annotated[list[VersionAnswer], Field(description="The newest first.")]


@router.get("", response_model=ProfilesAnswer)
async def get_profiles(api: Api) -> Response:
    """List all profiles."""
    async with api.database.connection() as connection:
        content: ProfilesAnswer = {"profiles": [_shape(one) for one in await list_profiles(connection)]}
    return answer(content)


@router.get("/{name}", response_model=ProfileAnswer)
async def get_profile(name: Annotated[str, _NAME], api: Api) -> Response:
    """Return one profile."""
    async with api.database.connection() as connection:
        return answer(_shape(await require_profile(connection, name)))


@router.get("/{name}/versions", response_model=VersionsAnswer)
async def get_versions(name: Annotated[str, _NAME], api: Api) -> Response:
    """List what a profile was, also one that was deleted."""
    async with api.database.connection() as connection:
        found = await list_versions(connection, name)
        if not found:
            await require_profile(connection, name)
    content: VersionsAnswer = {
        "versions": [
            {
                **_content(one.profile),
                "version": one.version,
                "changed_at": one.changed_at,
                "changed_by": one.changed_by,
            }
            for one in found
        ]
    }
    return answer(content)


@router.put("/{name}", response_model=ProfileAnswer, responses={409: problem(409)})
async def put_one_profile(
    request: Request, name: Annotated[str, _NAME], body: ChangedProfile, api: Api, caller: Asking
) -> Response:
    """Add a profile, or make a new version of it: what comes some seconds later is read by that."""
    _require_whole(request, api, caller)
    fields = tuple(Mapping(**one.model_dump()) for one in body.map)
    profile = Content(name, body.title, body.format, body.kind, fields, body.source)
    try:
        check_profile(profile, api.catalogue, reader_of(api).formats)
    except ProfileError as error:
        raise ProblemError(ProblemType.INVALID_BODY, str(error)) from None
    async with api.database.connection() as connection, connection.transaction():
        try:
            is_changed = await put_profile(connection, profile, Origin.API, caller.actor)
        except ProfileUsedError as error:
            raise ProblemError(ProblemType.CONFLICT, str(error)) from None
        if is_changed:
            detail = {"format": profile.format, "kind": profile.kind}
            await record(connection, [act(request, caller, "put profile", name, **detail)])
        content = _shape(await require_profile(connection, name))
    return answer(content)


@router.delete("/{name}", status_code=204, responses={409: problem(409)})
async def delete_one_profile(
    request: Request, name: Annotated[str, _NAME], api: Api, caller: Asking
) -> Response:
    """Delete a profile that no source names; its versions stay."""
    _require_whole(request, api, caller)
    async with api.database.connection() as connection, connection.transaction():
        await hold_profile(connection, name)
        stored = await require_profile(connection, name)
        if stored.origin is Origin.BUILTIN:
            raise ProblemError(
                ProblemType.CONFLICT,
                f"the profile {name} comes with Alatau and would be back with its next version; leave it, or change it",
            )
        if stored.sources:
            raise ProblemError(
                ProblemType.CONFLICT,
                f"{stored.sources} sources name the profile {name}; claim them with another one first",
            )
        await delete_profile(connection, name)
        await record(connection, [act(request, caller, "delete profile", name)])
    return Response(status_code=204)


async def require_profile(
    connection: Connection, name: str, kind: ProblemType = ProblemType.NOT_FOUND
) -> StoredProfile:
    """Return a profile, or raise the problem that names the nearest."""
    stored = await find_profile(connection, name)
    if stored is None:
        names = [one.profile.name for one in await list_profiles(connection)]
        raise ProblemError(kind, f'there is no profile "{name[:80]}"; {did_you_mean(name, names)}')
    return stored


def _require_whole(request: Request, api: Services, caller: Caller) -> None:
    if not caller.scope.is_whole:
        detail = f"profiles are of the whole city, and this {caller.what} sees a part"
        raise refuse(request, api, caller, detail)


class _Said(TypedDict):
    name: str
    title: str
    format: str
    kind: str
    map: list[FieldAnswer]
    source: str


def _content(profile: Content) -> _Said:
    return {
        "name": profile.name,
        "title": profile.title,
        "format": profile.format,
        "kind": profile.kind,
        "map": [
            {
                "field": one.field,
                "metric": one.metric,
                "unit": one.unit,
                "scale": one.scale,
                "offset": one.offset,
            }
            for one in profile.fields
        ],
        "source": profile.source,
    }


def _shape(stored: StoredProfile) -> ProfileAnswer:
    return {
        **_content(stored.profile),
        "version": stored.version,
        "changed_at": stored.changed_at,
        "changed_by": stored.changed_by,
        "origin": stored.origin,
        "sources": stored.sources,
    }
