"""``decode``: what messages of other firmware say, and what would be stored of them. Needs no servers."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.table import Table

from cli.console import answers, shown
from cli.settings import load_settings
from ingest.decoders.table import NAMES
from ingest.explaining import Explained, Explainer, Outcome, written_time
from sensors.catalogue import Catalogue, build_catalogue, builtin_file, read_city_file
from sensors.errors import AlatauError, did_you_mean
from sensors.kinds import Kind
from sensors.profiles import Profile, ProfileError, builtin_profiles, check_profile, read_profiles
from sensors.times import SECOND, parse_timestamp
from sensors.topics import Topics


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Administration")(decode)


def decode(
    messages: Annotated[
        list[str],
        typer.Argument(
            metavar="TOPIC FILE…", help="A topic and the file of its payload; more, in their order."
        ),
    ],
    kind: Annotated[
        str | None, typer.Option(help="Show what a device of this kind would store of it.")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="Which field is which metric: a TOML file, or the name of one that comes with us."),
    ] = None,
    catalog: Annotated[
        pathlib.Path | None, typer.Option(help="Kinds of this city file; without it, Alatau City.")
    ] = None,
    received: Annotated[str | None, typer.Option(help="When it arrives, RFC 3339; now, if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show what messages of other firmware say, what would be stored of them, and what would not and why.

    Some formats need earlier messages, such as a birth: give them first. A file named .hex holds the payload in hex.

    [dim]Examples:[/]
      alatau decode senml/air-7 pack.json
      alatau decode senml/air-7 pack.json --kind air_quality
      alatau decode application/1/device/24e124aa00000007/event/up up.json --profile mine.toml
      alatau decode spBv1.0/city/NBIRTH/gw1 birth.hex spBv1.0/city/NDATA/gw1 data.hex --json
    """
    content = read_city_file(catalog) if catalog else builtin_file("alatau")
    catalogue = build_catalogue(content, str(catalog or "alatau.toml"))
    outcome = Explainer(Topics(load_settings().topic_root)).explain(
        list(_read(messages)),
        received=_received(received) if received else time.time(),
        catalogue=catalogue,
        kind=kind,
        profile=_profile(catalogue, profile) if profile else None,
    )
    if as_json:
        answers.print_json(json.dumps(outcome.as_json()))
    else:
        _show(outcome)
    if outcome.has_faults:
        raise typer.Exit(1)


def _profile(catalogue: Catalogue, name: str) -> Profile:
    """Return the profile of a file, or the one of this name that comes with Alatau."""
    shipped = {one.name: one for one in builtin_profiles()}
    if name in shipped:
        return shipped[name]
    file = pathlib.Path(name)
    if file.suffix != ".toml":
        raise ProfileError(
            f"no profile {name!r} comes with Alatau; {did_you_mean(name, shipped)}, or give a file NAME.toml"
        )
    found = read_profiles(_bytes(file), str(file))
    if len(found) != 1:
        raise ProfileError(f"{file} has {len(found)} profiles; give a file with the one that is meant")
    check_profile(found[0], catalogue, NAMES)
    return found[0]


def _read(messages: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    if len(messages) % 2:
        raise AlatauError("give a topic and a file, one after the other: alatau decode senml/air-7 pack.json")
    for topic, name in zip(messages[::2], messages[1::2], strict=True):
        yield topic, _payload(pathlib.Path(name))


def _payload(file: pathlib.Path) -> bytes:
    content = _bytes(file)
    if file.suffix != ".hex":
        return content
    try:
        return bytes.fromhex(content.decode())
    except ValueError as error:
        raise AlatauError(f"{file}: {error}; write two hexadecimal digits for each byte") from None


def _bytes(file: pathlib.Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise AlatauError(f"{file}: {error.strerror or error}; give the path of a file") from error


def _received(text: str) -> float:
    try:
        return parse_timestamp(text) / SECOND
    except (ValueError, OverflowError) as error:
        raise AlatauError(f"--received: {error}; write 2026-01-01T00:00:00Z") from None


def _show(outcome: Outcome) -> None:
    """Print it for people."""
    said = outcome.as_json()
    answers.print(f"[bold]{' and '.join(said['formats'])}[/]")
    for one in outcome.readings:
        reading = one.reading
        past = ", of the past: never the latest" if reading.is_historical else ""
        answers.print(f"\n{shown(reading.source)} at {written_time(reading.time) or 'its arrival'}{past}")
        answers.print(_table(one, outcome.kind))
    for status in said["statuses"]:
        state = "online" if status["online"] else "offline"
        answers.print(f"\n{shown(status['source'])} is {state}, since {status['time'] or 'its arrival'}")
    for reply in said["replies"]:
        answers.print(f"\nanswered on {shown(reply['topic'])}: {reply['payload']}", soft_wrap=True)
    if not (said["readings"] or said["statuses"] or said["refused"]):
        answers.print("It says nothing that is stored.")
    for refused in said["refused"]:
        told = f"{refused['reason']}: {refused['detail']}"
        answers.print(f"\n[red]refused[/], {shown(told)}", soft_wrap=True)


def _table(one: Explained, kind: Kind | None) -> Table:
    if kind is None or one.stored is None:
        table = Table("field", "value", "unit", box=None)
        for field, value in one.reading.values.items():
            table.add_row(shown(field), f"{value:g}", shown(one.reading.units.get(field, "")))
        return table
    table = Table(f"stored as {kind.name}", "value", "unit", box=None)
    for metric in kind.metrics:
        if metric.name in one.stored:
            table.add_row(metric.name, f"{one.stored[metric.name]:g}", shown(metric.unit))
    return table
