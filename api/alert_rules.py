"""Rules of alerts: listing, adding, changing, deleting them. They are of the whole city."""

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
from api.members import ANSWER, Moment
from api.parameters import require_devices
from api.problems import ProblemError, ProblemType
from api.responses import answer
from api.services import Services
from sensors.errors import RuleError
from sensors.rules import Rule, RuleKind, check_rule
from storage.alert_rules import Origin, StoredRule, delete_rule, find_rule, list_rules, put_rule
from storage.alerts import Severity
from storage.audit import record
from storage.kinds import Connection

router = APIRouter(prefix=f"{PREFIX}/rules", tags=["rules"])

_NAME = Path(max_length=64, pattern=r"^[^\x00]*$", description="Of the rule.", examples=["pm2_5-high"])
_Integer = Annotated[int, Field(ge=-(2**53), le=2**53)]
_Plain = Text | bool | _Integer | float | None
# A definition's members are those of its kind; what they may be is said by the problem of one that is wrong.
Definition = dict[Text, _Plain | list[_Plain] | dict[Text, _Plain | list[_Plain]]]
_Defined = Annotated[
    Definition,
    Field(description="What its kind says.", examples=[{"metric": "pm2_5", "above": 150, "lasting": "PT5M"}]),
]


class ChangedRule(BaseModel):
    """A rule, but for its name."""

    model_config = BODY

    kind: RuleKind = Field(description="What it looks at.", examples=["threshold"])
    definition: _Defined
    severity: Severity = Field(Severity.WARNING, description="Of its alerts.")
    enabled: bool = Field(default=True, description="Whether it is evaluated.")


class NewRule(ChangedRule):
    """A rule to be added."""

    name: Annotated[Text, Field(max_length=64, description="Names it.", examples=["pm2_5-high"])]


@with_config(ANSWER)
class RuleAnswer(TypedDict):
    """A rule."""

    name: Annotated[str, Field(description="Names it.", examples=["pm2_5-high"])]
    kind: Annotated[RuleKind, Field(description="What it looks at.", examples=["threshold"])]
    definition: _Defined
    severity: Annotated[Severity, Field(description="Of its alerts.", examples=["warning"])]
    enabled: Annotated[bool, Field(description="Whether it is evaluated.", examples=[True])]
    origin: Annotated[
        Origin, Field(description="`builtin`: it comes with Alatau and is renewed with it.", examples=["api"])
    ]
    created_at: Moment
    changed_at: Moment


@with_config(ANSWER)
class RulesAnswer(TypedDict):
    """All rules."""

    rules: Annotated[list[RuleAnswer], Field(description="In the order of their names.")]


@router.get("", response_model=RulesAnswer)
async def get_rules(request: Request, api: Api, caller: Asking) -> Response:
    """List all rules."""
    _require_whole(request, api, caller)
    async with api.database.connection() as connection:
        content: RulesAnswer = {"rules": [_shape(one) for one in await list_rules(connection)]}
    return answer(content)


@router.post("", status_code=201, response_model=RuleAnswer, responses={409: problem(409)})
async def post_rule(request: Request, body: NewRule, api: Api, caller: Asking) -> Response:
    """Add a rule; it is evaluated some seconds later."""
    _require_whole(request, api, caller)
    async with api.database.connection() as connection, connection.transaction():
        rule = await _understand(connection, body.name, body, api)
        if await find_rule(connection, rule.name) is not None:
            raise ProblemError(
                ProblemType.CONFLICT,
                f"there is a rule {rule.name} already; PUT {PREFIX}/rules/{rule.name} changes it",
            )
        await put_rule(connection, rule, Origin.API)
        await record(connection, [act(request, caller, "add rule", rule.name, **_detail(rule))])
        content = await _stored(connection, rule.name)
    return answer(content, status=201)


@router.put("/{name}", response_model=RuleAnswer)
async def put_changed_rule(
    request: Request, name: Annotated[str, _NAME], body: ChangedRule, api: Api, caller: Asking
) -> Response:
    """Change a rule. Alerts of it that no longer hold end some seconds later."""
    _require_whole(request, api, caller)
    async with api.database.connection() as connection, connection.transaction():
        await _stored(connection, name)
        rule = await _understand(connection, name, body, api)
        if await put_rule(connection, rule, Origin.API):
            await record(connection, [act(request, caller, "change rule", name, **_detail(rule))])
        content = await _stored(connection, name)
    return answer(content)


@router.delete("/{name}", status_code=204, responses={409: problem(409)})
async def delete_one_rule(
    request: Request, name: Annotated[str, _NAME], api: Api, caller: Asking
) -> Response:
    """Delete a rule; its alerts end some seconds later. One that comes with Alatau is disabled instead."""
    _require_whole(request, api, caller)
    async with api.database.connection() as connection, connection.transaction():
        content = await _stored(connection, name)
        if content["origin"] is Origin.BUILTIN:
            raise ProblemError(
                ProblemType.CONFLICT,
                f"the rule {name} comes with Alatau and would be back at its next start; "
                f'PUT {PREFIX}/rules/{name} with "enabled": false',
            )
        await delete_rule(connection, name)
        await record(connection, [act(request, caller, "delete rule", name)])
    return Response(status_code=204)


def _require_whole(request: Request, api: Services, caller: Caller) -> None:
    if not caller.scope.is_whole:
        raise refuse(request, api, caller, f"rules are of the whole city, and this {caller.what} sees a part")


async def _understand(connection: Connection, name: str, body: ChangedRule, api: Services) -> Rule:
    rule = Rule(name, body.kind, body.definition, body.severity.value, body.enabled)
    try:
        definition = check_rule(rule, api.catalogue)
    except RuleError as error:
        raise ProblemError(ProblemType.INVALID_BODY, str(error)) from None
    await require_devices(connection, definition.devices)
    return rule


async def _stored(connection: Connection, name: str) -> RuleAnswer:
    stored = await find_rule(connection, name)
    if stored is None:
        raise ProblemError(
            ProblemType.NOT_FOUND, f"there is no rule {name[:80]}; GET {PREFIX}/rules lists all"
        )
    return _shape(stored)


def _detail(rule: Rule) -> dict[str, object]:
    return {"kind": rule.kind.value, "severity": rule.severity, "enabled": str(rule.enabled).lower()}


def _shape(stored: StoredRule) -> RuleAnswer:
    rule = stored.rule
    return {
        "name": rule.name,
        "kind": rule.kind,
        "definition": rule.definition,
        "severity": Severity(rule.severity),
        "enabled": rule.enabled,
        "origin": stored.origin,
        "created_at": stored.created_at,
        "changed_at": stored.changed_at,
    }
