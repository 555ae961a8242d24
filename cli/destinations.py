"""Where alerts are delivered to: adding destinations, listing, testing and removing them, and what was given up."""

from __future__ import annotations

import asyncio
from typing import Annotated

import asyncpg
import typer
from rich.markup import escape
from rich.table import Table

from cli.connections import owner_connection
from cli.console import answers
from cli.correct import user_name
from cli.keys import require_known
from cli.networks import webhook_networks
from cli.settings import Settings, SettingsError, load_settings
from sensors.alerts import Severity
from sensors.destinations import (
    MOST_PER_MINUTE,
    PER_MINUTE,
    SECRET_GRACE,
    Destination,
    DestinationType,
    check_destination,
    generate_webhook_secret,
)
from sensors.messages import Language
from storage.api_keys import Scope
from storage.audit import Event, record
from storage.delivery_list import Delivery, DeliveryState, Replayed, list_deliveries, replay_dead
from storage.destinations import (
    add_destination,
    delete_destination,
    list_destinations,
    order_test,
    replace_secret,
)

destination = typer.Typer(
    no_args_is_help=True, help="Where alerts are delivered to: webhooks, e-mail, the broker."
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]
_UNKNOWN = "there is no destination {}; see: alatau destination list"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(destination, name="destination", rich_help_panel="Administration")


@destination.command("add")
def add(
    name: Name,
    webhook: Annotated[str | None, typer.Option(help="Address that alerts are posted to.")] = None,
    email: Annotated[list[str] | None, typer.Option(help="Address of e-mail; may be repeated.")] = None,
    mqtt: Annotated[bool, typer.Option("--mqtt", help="The broker, for who listens there.")] = False,
    severity: Annotated[Severity, typer.Option(help="The least that is delivered.")] = Severity.WARNING,
    district: Annotated[list[str] | None, typer.Option(help="Only alerts of these districts.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only alerts of these kinds.")] = None,
    per_minute: Annotated[
        int | None, typer.Option(min=1, max=MOST_PER_MINUTE, help="Messages a minute, at most.")
    ] = None,
    language: Annotated[Language, typer.Option(help="Of what is told.")] = Language.ENGLISH,
) -> None:
    """Have alerts delivered. The secret that a webhook's messages are signed with is printed once.

    [dim]Examples:[/]
      alatau destination add control-room --webhook https://example.org/alerts
      alatau destination add duty --email duty@example.org --severity critical --language kk
    """
    given = {
        DestinationType.WEBHOOK: webhook is not None,
        DestinationType.EMAIL: bool(email),
        DestinationType.MQTT: mqtt,
    }
    if list(given.values()).count(True) != 1:
        raise SettingsError("give one of --webhook, --email and --mqtt; a destination is of one type")
    type_ = next(one for one, is_given in given.items() if is_given)
    described = Destination(
        name=name,
        type=type_,
        url=webhook,
        recipients=tuple(email or ()),
        severity=severity,
        districts=tuple(district) if district else None,
        kinds=tuple(kind) if kind else None,
        per_minute=per_minute or PER_MINUTE[type_],
        language=language,
    )
    settings = load_settings()
    check_destination(described, webhook_networks(settings))
    asyncio.run(_add(settings, described))


async def _add(settings: Settings, described: Destination) -> None:
    secret = generate_webhook_secret() if described.type is DestinationType.WEBHOOK else None
    name, who = described.name, user_name()
    async with owner_connection(settings) as connection:
        await require_known(connection, Scope(described.districts, described.kinds))
        async with connection.transaction():
            if not await add_destination(connection, described, secret, who):
                raise SettingsError(f"there is a destination {name} already; choose another name")
            detail = {"type": described.type.value}
            await record(connection, [Event(who, "add destination", subject=name, detail=detail)])
    if secret is not None:
        _print_secret(secret)
    answers.print(f"alerts go to {name}; try it: alatau destination test {name}", markup=False)


def _print_secret(secret: str) -> None:
    answers.print(
        f"secret  {secret}   (shown once; messages are signed with it)", markup=False, soft_wrap=True
    )


@destination.command("list")
def list_() -> None:
    """List destinations, and how their deliveries go.

    [dim]Example:[/]
      alatau destination list
    """

    async def show(settings: Settings) -> None:
        async with owner_connection(settings) as connection:
            found = await list_destinations(connection)
        table = Table(
            "name", "type", "where", "from", "only", "language", "waiting", "dead", "last error", box=None
        )
        for stored in found:
            one = stored.destination
            only = [",".join(names) for names in (one.districts, one.kinds) if names]
            table.add_row(
                one.name if one.is_enabled else f"{one.name} (disabled)",
                one.type.value,
                escape(one.url or ", ".join(one.recipients) or "-"),
                one.severity.value,
                "; ".join(only) or "-",
                one.language.value,
                f"{stored.waiting:,}",
                f"{stored.dead:,}",
                escape(stored.last_error or "-"),
            )
        answers.print(table if found else "There is none; see: alatau destination add --help")

    asyncio.run(show(load_settings()))


@destination.command("remove")
def remove(name: Name) -> None:
    """Deliver no more to a destination; what waits for it is gone.

    [dim]Example:[/]
      alatau destination remove control-room
    """

    async def run(settings: Settings) -> None:
        async with owner_connection(settings) as connection, connection.transaction():
            if not await delete_destination(connection, name):
                raise SettingsError(_UNKNOWN.format(name))
            await record(connection, [Event(user_name(), "delete destination", subject=name)])

    asyncio.run(run(load_settings()))
    answers.print(f"removed {name}", markup=False)


@destination.command("secret")
def secret(name: Name) -> None:
    """Give a webhook another secret. For a day its messages are signed with the old one, too.

    [dim]Example:[/]
      alatau destination secret control-room
    """
    made = generate_webhook_secret()

    async def run(settings: Settings) -> None:
        async with owner_connection(settings) as connection, connection.transaction():
            if not await replace_secret(connection, name, made, SECRET_GRACE):
                raise SettingsError(f"there is no webhook {name}; see: alatau destination list")
            await record(connection, [Event(user_name(), "replace secret of destination", subject=name)])

    asyncio.run(run(load_settings()))
    _print_secret(made)


@destination.command("test")
def try_(
    name: Name,
    wait: Annotated[float, typer.Option(min=0, max=600, help="Seconds to wait for what comes of it.")] = 30,
) -> None:
    """Send a message that says it is a test, and tell whether it arrived. `alatau alert` has to run.

    [dim]Example:[/]
      alatau destination test control-room
    """
    delivery = asyncio.run(_test(load_settings(), name, wait))
    if delivery.state is DeliveryState.DEAD:
        raise SettingsError(f"it did not arrive: {delivery.last_error}")
    if delivery.state is DeliveryState.WAITING:
        raise SettingsError(
            f"nobody has sent it in {wait:g} s; start `alatau alert`, and see: alatau destination list"
        )
    note = f"; {delivery.last_error}" if delivery.last_error else ""
    answers.print(f"it arrived{note}", markup=False)


async def _test(settings: Settings, name: str, wait: float) -> Delivery:
    async with owner_connection(settings) as connection:
        async with connection.transaction():
            number = await order_test(connection, name)
            if number is None:
                raise SettingsError(_UNKNOWN.format(name))
            await record(connection, [Event(user_name(), "test destination", subject=name)])
        return await _outcome(connection, number, wait)


async def _outcome(connection: asyncpg.Connection, number: int, wait: float) -> Delivery:
    """Return a delivery when it is finished, or as it is after some seconds."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait
    while True:
        (delivery,) = await list_deliveries(connection, number=number)
        if delivery.state is not DeliveryState.WAITING or loop.time() >= until:
            return delivery
        await asyncio.sleep(0.1)


@destination.command("replay")
def replay(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Its name; else all.")] = None,
    number: Annotated[
        int | None, typer.Option(help="Only this delivery, of GET /api/v1/deliveries.", max=2**63 - 1)
    ] = None,
) -> None:
    """Have what was given up delivered after all, when its cause was mended.

    [dim]Examples:[/]
      alatau destination replay control-room
      alatau destination replay --number 17
    """

    async def run(settings: Settings) -> Replayed:
        async with owner_connection(settings) as connection, connection.transaction():
            if name is not None and not await list_destinations(connection, name):
                raise SettingsError(_UNKNOWN.format(name))
            replayed = await replay_dead(connection, name, number)
            detail = {"deliveries": replayed.waiting, "number": number}
            await record(connection, [Event(user_name(), "replay deliveries", subject=name, detail=detail)])
        return replayed

    replayed = asyncio.run(run(load_settings()))
    answers.print(f"{replayed.waiting:,} waiting again", markup=False)
    if replayed.outdated:
        answers.print(
            f"{replayed.outdated:,} left as they are: what became of their alerts later has arrived",
            markup=False,
        )
