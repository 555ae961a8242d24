"""Rules of alerts: listing, adding, switching, removing them, and applying a file of them."""

from __future__ import annotations

import asyncio
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import asyncpg
import msgspec
import typer
from rich.table import Table

from cli.administration import load_applied
from cli.connections import owner_connection
from cli.console import answers
from cli.correct import user_name
from cli.settings import Settings, load_settings
from sensors.errors import RuleError, did_you_mean
from sensors.rules import Rule, RuleKind, check_rule, read_rules
from storage.alert_rules import Origin, StoredRule, delete_rule, find_rule, list_rules, put_rule
from storage.alerts import Severity
from storage.audit import Event, record

rule = typer.Typer(no_args_is_help=True, help="Rules of alerts: list, add, switch, remove, apply a file.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]
_LISTS = ("districts", "devices", "kinds", "ignore")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(rule, name="rule", rich_help_panel="Administration")


@rule.command("list")
def show() -> None:
    """List all rules.

    [dim]Example:[/]
      alatau rule list
    """

    async def run(settings: Settings) -> None:
        async with owner_connection(settings) as connection:
            found = await list_rules(connection)
        table = Table("name", "kind", "severity", "state", "origin", "says", box=None)
        for one in found:
            table.add_row(
                one.rule.name,
                one.rule.kind.value,
                one.rule.severity,
                "on" if one.rule.enabled else "off",
                one.origin.value,
                _said(one.rule.definition),
            )
        answers.print(
            table if found else "There is no rule yet: alatau alert brings some, alatau rule add adds one."
        )

    asyncio.run(run(load_settings()))


def _said(definition: Mapping[str, Any]) -> str:
    """Return a definition as ``add`` takes it, the metric first."""
    members = sorted(definition.items(), key=lambda member: (member[0] != "metric", member[0]))
    return ", ".join(f"{name}={_written(value)}" for name, value in members)


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@rule.command("add")
def add(
    name: Name,
    kind: Annotated[RuleKind, typer.Argument(help="What it looks at.")],
    says: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE…", help="What it says; see docs/alerts.md.")
    ],
    severity: Annotated[Severity, typer.Option(help="Of its alerts.")] = Severity.WARNING,
) -> None:
    """Add a rule, or change the one of this name; it is evaluated some seconds later.

    [dim]Examples:[/]
      alatau rule add pm2_5-high threshold metric=pm2_5 above=150 clear=120 lasting=PT5M
      alatau rule add lamps-silent silence kinds=street_light intervals=3 --severity info
    """
    definition = dict(map(_member, says))
    asyncio.run(_put(load_settings(), [Rule(name, kind, definition, severity.value)], Origin.API))


def _member(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise RuleError(f'"{text[:80]}" is no NAME=VALUE; write metric=pm2_5')
    return name, [_value(part) for part in value.split(",")] if name in _LISTS else _value(value)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@rule.command("apply")
def apply(
    file: Annotated[
        pathlib.Path, typer.Argument(metavar="FILE", help=r"TOML, with \[\[rule]] after \[\[rule]].")
    ],
) -> None:
    """Add and change rules as a file says; others stay as they are.

    [dim]Example:[/]
      alatau rule apply rules.toml
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise RuleError(
            f"{file}: {error.strerror or error}; give the path of a TOML file of rules"
        ) from error
    asyncio.run(_put(load_settings(), read_rules(text, str(file)), Origin.FILE))


async def _put(settings: Settings, rules: Sequence[Rule], origin: Origin) -> None:
    async with owner_connection(settings) as connection, connection.transaction():
        catalogue = await load_applied(connection)
        for one in rules:
            check_rule(one, catalogue)
        changed = [one for one in rules if await put_rule(connection, one, origin)]
        acts = [Event(user_name(), "put rule", subject=one.name, detail=_detail(one)) for one in changed]
        await record(connection, acts)
    answers.print(f"{len(changed)} of {len(rules)} rules are new or changed")


def _detail(changed: Rule) -> dict[str, object]:
    return {"kind": changed.kind.value, "severity": changed.severity}


@rule.command("switch")
def switch(
    name: Name, enabled: Annotated[bool, typer.Option("--on/--off", help="Whether it is evaluated.")]
) -> None:
    """Switch a rule on or off; its alerts end some seconds later.

    [dim]Example:[/]
      alatau rule switch pm2_5-day-who --on
    """

    async def run(settings: Settings) -> None:
        async with owner_connection(settings) as connection, connection.transaction():
            changed = msgspec.structs.replace((await _find(connection, name)).rule, enabled=enabled)
            if await put_rule(connection, changed, Origin.API):
                what = "switch rule on" if enabled else "switch rule off"
                await record(connection, [Event(user_name(), what, subject=name)])

    asyncio.run(run(load_settings()))
    answers.print(f"{name} is {'on' if enabled else 'off'}", markup=False)


@rule.command("remove")
def remove(name: Name) -> None:
    """Remove a rule; its alerts end some seconds later.

    [dim]Example:[/]
      alatau rule remove pm2_5-high
    """

    async def run(settings: Settings) -> None:
        async with owner_connection(settings) as connection, connection.transaction():
            if (await _find(connection, name)).origin is Origin.BUILTIN:
                raise RuleError(
                    f"the rule {name} comes with Alatau and would be back; run: alatau rule switch {name} --off"
                )
            await delete_rule(connection, name)
            await record(connection, [Event(user_name(), "delete rule", subject=name)])

    asyncio.run(run(load_settings()))
    answers.print(f"{name} is removed", markup=False)


async def _find(connection: asyncpg.Connection, name: str) -> StoredRule:
    stored = await find_rule(connection, name)
    if stored is None:
        names = [one.rule.name for one in await list_rules(connection)]
        raise RuleError(f"there is no rule {name}; {did_you_mean(name, names)}")
    return stored
