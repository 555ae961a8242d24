"""People who sign in: adding and listing them, their passwords, disabling and deleting them."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from rich.table import Table

from api.passwords import Hashing, generate_password, objection
from cli.connections import owner_connection
from cli.console import answers
from cli.correct import user_name
from cli.keys import given_scope, require_known, seen
from cli.settings import Settings, SettingsError, load_settings
from storage.api_keys import Role, Scope
from storage.audit import Event, record
from storage.kinds import Connection
from storage.users import (
    USER_NAME,
    NewUser,
    User,
    add_user,
    delete_user,
    disable_user,
    enable_user,
    list_users,
    set_password,
    set_role,
)

user = typer.Typer(no_args_is_help=True, help="People who sign in: who may ask what, and see which part.")

Name = Annotated[str, typer.Argument(help="Their name, such as anna or anna@example.org.")]
RoleOption = Annotated[Role, typer.Option(help="Each may what those before it may.")]
Districts = Annotated[list[str] | None, typer.Option("--district", help="They see only these districts.")]
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="They see only these kinds.")]
Generate = Annotated[
    bool, typer.Option("--generate", help="Make a password and print it, once; else it is asked for.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(user, name="user", rich_help_panel="Administration")


@user.command("add")
def add(
    name: Name,
    role: RoleOption = Role.VIEWER,
    districts: Districts = None,
    kinds: Kinds = None,
    generate: Generate = False,
) -> None:
    """Add somebody who signs in with a name and a password; of that only a hash is kept.

    The password is asked for, or read from the first line of what is piped in. What each role may is told by
    alatau key add --help.

    [dim]Examples:[/]
      alatau user add anna --role admin --generate
      alatau user add gate-control --role operator --district gate
    """
    name = _kept(name)
    scope = given_scope(role, districts, kinds)
    asyncio.run(_add(load_settings(), name, role, scope, generate=generate))


async def _add(settings: Settings, name: str, role: Role, scope: Scope, *, generate: bool) -> None:
    async with owner_connection(settings) as connection:
        await require_known(connection, scope)
        password = _new_password(name, generate=generate)
        who = user_name()
        new = NewUser(name, role, scope, Hashing().hash(password), created_by=who)
        async with connection.transaction():
            if await add_user(connection, new) is None:
                raise SettingsError(f"{name} is there already; see: alatau user list")
            await record(connection, [Event(who, "add user", subject=name, detail={"role": role.value})])
    _show(password, generate=generate)
    answers.print(f"{name} is {role.value} and sees {seen(scope)}", markup=False)


@user.command("list")
def list_() -> None:
    """List everybody, disabled ones too.

    [dim]Example:[/]
      alatau user list
    """

    async def show(settings: Settings) -> None:
        async with owner_connection(settings) as connection:
            found = await list_users(connection)
        table = Table("name", "role", "sees", "signs in", "last", "state", box=None)
        for one in found:
            table.add_row(
                one.name,
                one.role.value,
                seen(one.scope),
                "with a password" if one.has_password else (one.issuer or "not at all"),
                f"{one.last_sign_in_at:%Y-%m-%d %H:%M}" if one.last_sign_in_at else "never",
                f"disabled {one.disabled_at:%Y-%m-%d}" if one.disabled_at else "enabled",
            )
        answers.print(table if found else "There is nobody; see: alatau user add --help")

    asyncio.run(show(load_settings()))


@user.command("password")
def password(name: Name, generate: Generate = False) -> None:
    """Give somebody another password; every session of theirs ends.

    [dim]Examples:[/]
      alatau user password anna
      alatau user password anna --generate
    """
    name = _kept(name)
    made = _new_password(name, generate=generate)
    hashed = Hashing().hash(made)
    _change(name, "change password of user", lambda connection: set_password(connection, name, hashed))
    _show(made, generate=generate)
    answers.print(f"{name} has another password; all sessions have ended", markup=False)


@user.command("role")
def role_(
    name: Name,
    role: Annotated[Role, typer.Argument(help="Each may what those before it may.")],
    districts: Districts = None,
    kinds: Kinds = None,
) -> None:
    """Let somebody do and see this, and nothing else; every session of theirs ends.

    [dim]Example:[/]
      alatau user role anna operator --district gate
    """
    name, scope = _kept(name), given_scope(role, districts, kinds)

    async def change(connection: Connection) -> User | None:
        await require_known(connection, scope)
        return await set_role(connection, name, role, scope)

    _change(name, "change role of user", change, role=role.value)
    answers.print(f"{name} is {role.value} and sees {seen(scope)}; all sessions have ended", markup=False)


@user.command("disable")
def disable(name: Name) -> None:
    """Let somebody in no more; every session of theirs ends.

    [dim]Example:[/]
      alatau user disable anna
    """
    name = _kept(name)
    _change(name, "disable user", lambda connection: disable_user(connection, name))
    answers.print(f"disabled {name}; all sessions have ended", markup=False)


@user.command("enable")
def enable(name: Name) -> None:
    """Let somebody in again, with the password that they have.

    [dim]Example:[/]
      alatau user enable anna
    """
    name = _kept(name)
    _change(name, "enable user", lambda connection: enable_user(connection, name))
    answers.print(f"enabled {name}", markup=False)


@user.command("delete")
def delete(name: Name) -> None:
    """Delete somebody; every session of theirs ends. What they did stays on record.

    [dim]Example:[/]
      alatau user delete anna
    """
    name = _kept(name)
    _change(name, "delete user", lambda connection: delete_user(connection, name))
    answers.print(f"deleted {name}; all sessions have ended", markup=False)


def _kept(name: str) -> str:
    """Return a name as it is kept. Raises SettingsError of what can't be one."""
    kept = name.strip().lower()
    if not USER_NAME.fullmatch(kept):
        raise SettingsError(
            f"{name[:80]!r} is no name; it has letters of a to z, digits, and after the first of them also . _ - + @, "
            "and not digits alone"
        )
    return kept


def _new_password(name: str, *, generate: bool) -> str:
    """Return a password: made, asked for twice, or the first line of what is piped in. Raises SettingsError."""
    if generate:
        return generate_password()
    if sys.stdin.isatty():
        given = getpass.getpass(f"Password of {name}: ")
        if getpass.getpass("Again: ") != given:
            raise SettingsError("these were not the same; nothing was changed, try again")
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    if reason := objection(given, name):
        raise SettingsError(f"this password will not do: {reason}, or let one be made with --generate")
    return given


def _show(password: str, *, generate: bool) -> None:
    if generate:
        answers.print(f"password {password}   (shown once; only its hash is kept)", markup=False)


def _change(
    name: str, action: str, change: Callable[[Connection], Awaitable[User | None]], **detail: str
) -> None:
    """Change somebody, on record. Raises SettingsError where there is nobody of this name, LastAdminError."""

    async def run(settings: Settings) -> None:
        async with owner_connection(settings) as connection, connection.transaction():
            if await change(connection) is None:
                raise SettingsError(f"no user is called {name}; see: alatau user list")
            await record(connection, [Event(user_name(), action, subject=name, detail=detail)])

    asyncio.run(run(load_settings()))
