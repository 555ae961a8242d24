"""API keys: making one, listing them, revoking one."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import Annotated

import typer
from rich.table import Table

from api.parameters import parse_moment
from cli.administration import load_applied
from cli.connections import owner_connection
from cli.console import answers
from cli.correct import user_name
from cli.settings import Settings, SettingsError, load_settings
from sensors.errors import CatalogueError, did_you_mean
from sensors.times import from_microseconds
from storage.api_keys import (
    ApiKey,
    Role,
    Scope,
    generate_key,
    list_keys,
    prefix_of,
    revoke_key,
    store_key,
)
from storage.audit import Event, record
from storage.kinds import Connection

key = typer.Typer(no_args_is_help=True, help="API keys: who may ask what, and see which part of the city.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(key, name="key", rich_help_panel="Administration")


@key.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What it is used for, for people.")],
    role: Annotated[Role, typer.Option(help="Each may what those before it may.")] = Role.VIEWER,
    district: Annotated[list[str] | None, typer.Option(help="It sees only these districts.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="It sees only these kinds.")] = None,
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    expires: Annotated[
        str | None, typer.Option(help="RFC 3339 with zone, or from now such as P90D; else never.")
    ] = None,
) -> None:
    """Make a key and print it, once: only its hash is kept.

    A viewer sees aggregates, latest values and quality; an analyst also readings and exports; an operator also devices,
    corrections and refused messages; an admin also keys and the audit.

    [dim]Examples:[/]
      alatau key add "air report" --role analyst --expires P90D
      alatau key add "gate control room" --district gate --owner "Gate District"
    """
    asyncio.run(_add(load_settings(), name, role, given_scope(role, district, kind), owner, _expiry(expires)))


def given_scope(role: Role, districts: list[str] | None, kinds: list[str] | None) -> Scope:
    """Return the scope of these options. Raises SettingsError where a role can't have it."""
    scope = Scope(*(tuple(names) if names else None for names in (districts, kinds)))
    if role is Role.ADMIN and not scope.is_whole:
        raise SettingsError(
            "an admin sees the whole city: leave --district and --kind out, or take --role operator"
        )
    return scope


async def require_known(connection: Connection, scope: Scope) -> None:
    """Raise CatalogueError where a scope names what the city has not, with the nearest that it has."""
    catalogue = await load_applied(connection)
    for given, valid, what in (
        (scope.districts, catalogue.district_of, "district"),
        (scope.kinds, catalogue.kind_of, "kind"),
    ):
        for one in given or ():
            if one not in valid:
                raise CatalogueError(f"no {what} {one!r}; {did_you_mean(one, valid)}")


def _expiry(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    now = time.time_ns() // 1000
    moment = parse_moment("--expires", text, now)
    if moment <= now:
        raise SettingsError(f"--expires {text} has passed; a key has to last for a while")
    return from_microseconds(moment)


async def _add(
    settings: Settings, name: str, role: Role, scope: Scope, owner: str, expires_at: dt.datetime | None
) -> None:
    made, who = generate_key(), user_name()
    async with owner_connection(settings) as connection:
        await require_known(connection, scope)
        async with connection.transaction():
            await store_key(
                connection,
                made,
                name,
                role=role,
                scope=scope,
                owner=owner,
                created_by=who,
                expires_at=expires_at,
            )
            event = Event(who, "make key", subject=prefix_of(made), detail={"name": name, "role": role.value})
            await record(connection, [event])
    answers.print(f"key  {made}   (shown once; only its hash is kept)", markup=False, soft_wrap=True)
    answers.print(f"role {role.value}; sees {seen(scope)}", markup=False)


@key.command("list")
def list_() -> None:
    """List keys by what names them; revoked and expired ones too.

    [dim]Example:[/]
      alatau key list
    """

    async def show(settings: Settings) -> None:
        async with owner_connection(settings) as connection:
            found = await list_keys(connection)
        table = Table("prefix", "name", "role", "sees", "owner", "last used", "state", box=None)
        for one in found:
            table.add_row(
                one.prefix,
                one.name,
                one.role.value,
                seen(one.scope),
                one.owner or "-",
                f"{one.last_used_at:%Y-%m-%d %H:%M}" if one.last_used_at else "never",
                _state(one),
            )
        answers.print(table)

    asyncio.run(show(load_settings()))


def seen(scope: Scope) -> str:
    """Return what a scope sees, for people."""
    parts = [",".join(names) for names in (scope.districts, scope.kinds) if names is not None]
    return "; ".join(parts) or "the whole city"


def _state(one: ApiKey) -> str:
    if one.revoked_at is not None:
        return f"revoked {one.revoked_at:%Y-%m-%d}"
    if one.expires_at is None:
        return "valid"
    is_over = one.expires_at <= dt.datetime.now(dt.UTC)
    return f"{'expired' if is_over else 'until'} {one.expires_at:%Y-%m-%d}"


@key.command("revoke")
def revoke(
    prefix: Annotated[str, typer.Argument(help="What names it: the 12 digits behind alatau_.")],
) -> None:
    """Let a key do nothing any more, at once. Its name stays on record.

    [dim]Example:[/]
      alatau key revoke 0123456789ab
    """
    # Whoever pastes the whole key means this one.
    asyncio.run(_revoke(load_settings(), prefix_of(prefix) or prefix))


async def _revoke(settings: Settings, prefix: str) -> None:
    async with owner_connection(settings) as connection, connection.transaction():
        revoked = await revoke_key(connection, prefix)
        if revoked is None:
            raise SettingsError(f"no valid key has the prefix {prefix[:80]}; see: alatau key list")
        await record(
            connection, [Event(user_name(), "revoke key", subject=prefix, detail={"name": revoked.name})]
        )
    answers.print(f"revoked {prefix} ({revoked.name})", markup=False)
