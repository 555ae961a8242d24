"""``decode``: what messages of other firmware say, and what would be stored of them. Needs no servers."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import time
import zoneinfo
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from cli.console import answers
from ingest.decode import Fault
from ingest.decoders.parsed import Incoming, Parsed, Reading
from ingest.decoders.table import FORMATS, format_of
from ingest.mapping import Compiled
from sensors.catalogue import Catalogue, build_catalogue, builtin_file, read_city_file
from sensors.errors import AlatauError, did_you_mean
from sensors.kinds import Kind
from sensors.profiles import Profile, ProfileError, check_profile, read_profiles
from sensors.times import SECOND, format_timestamp, parse_timestamp


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
        pathlib.Path | None, typer.Option(help="TOML of a profile: which field is which metric.")
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
    compiled = _compiled(catalogue, kind, profile)
    at = parse_timestamp(received) / SECOND if received else time.time()
    parsed = list(_read(messages, at, zoneinfo.ZoneInfo(catalogue.city.timezone)))
    outcome = _Outcome(compiled, parsed)
    if as_json:
        answers.print_json(json.dumps(outcome.as_json()))
    else:
        outcome.show()
    if outcome.has_faults:
        raise typer.Exit(1)


def _compiled(catalogue: Catalogue, kind: str | None, file: pathlib.Path | None) -> Compiled | None:
    profile = _profile(catalogue, file) if file else None
    name = profile.kind if profile else kind
    if name is None:
        return None
    if name not in catalogue.kind_of:
        raise AlatauError(f"no kind {name!r} is known; {did_you_mean(name, catalogue.kind_of)}")
    if profile and kind not in (None, profile.kind):
        raise AlatauError(f"profile {profile.name} is of {profile.kind}; leave --kind out")
    return Compiled(catalogue.kind_of[name], profile)


def _profile(catalogue: Catalogue, file: pathlib.Path) -> Profile:
    found = read_profiles(_bytes(file), str(file))
    if len(found) != 1:
        raise ProfileError(f"{file} has {len(found)} profiles; give a file with the one that is meant")
    check_profile(found[0], catalogue)
    return found[0]


def _read(messages: Sequence[str], at: float, zone: zoneinfo.ZoneInfo) -> Iterator[tuple[str, Parsed]]:
    if len(messages) % 2:
        raise AlatauError("give a topic and a file, one after the other: alatau decode senml/air-7 pack.json")
    memories: dict[str, Any] = {}
    for topic, name in zip(messages[::2], messages[1::2], strict=True):
        owner = format_of(topic)
        if owner is None:
            patterns = ", ".join(pattern for one in FORMATS for pattern in one.patterns)
            raise AlatauError(f"topic {topic!r} is of no format that is understood; valid: {patterns}")
        one, levels = owner
        memory = memories.setdefault(one.name, one.memory())
        yield (
            one.title,
            one.decode(Incoming(topic, levels, _payload(pathlib.Path(name)), at, zone=zone), memory),
        )


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


class _Outcome:
    """What all messages say together, and what becomes of it."""

    def __init__(self, compiled: Compiled | None, parsed: Sequence[tuple[str, Parsed]]) -> None:
        self._kind: Kind | None = compiled.kind if compiled else None
        self._formats = list(dict.fromkeys(title for title, _ in parsed))
        every = [one for _, one in parsed]
        self._readings = [reading for one in every for reading in one.readings]
        self._refusals = [refusal for one in every for refusal in one.refusals]
        self._statuses = [status for one in every for status in one.statuses]
        self._replies = [reply for one in every for reply in one.replies]
        self._stored: list[dict[str, float]] = []
        self._faults: list[Fault] = []
        for reading in self._readings if compiled else ():
            self._map(compiled, reading)

    def _map(self, compiled: Compiled | None, reading: Reading) -> None:
        if compiled is None:
            return
        mapped = compiled.map(reading)
        self._faults += mapped.faults
        values = zip(compiled.kind.columns, mapped.row[1:] if mapped.row else (), strict=False)
        self._stored.append({name: value for name, value in values if not math.isnan(value)})

    @property
    def has_faults(self) -> bool:
        """Whether anything would be refused."""
        return bool(self._refusals or self._faults)

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        readings = [
            {
                "source": one.source,
                "time": _time(one.time),
                "values": one.values,
                "units": dict(one.units),
                "historical": one.is_historical,
            }
            for one in self._readings
        ]
        for one, stored in zip(readings, self._stored, strict=False):
            one["stored"] = stored
        return {
            "formats": self._formats,
            "kind": self._kind.name if self._kind else None,
            "readings": readings,
            "statuses": [
                {"source": one.source, "online": one.is_online, "time": _time(one.time)}
                for one in self._statuses
            ],
            "refused": [
                *({**dataclasses.asdict(one), "reason": one.reason.value} for one in self._refusals),
                *({"reason": one.reason.value, "detail": one.detail} for one in self._faults),
            ],
            "replies": [{"topic": one.topic, "payload": one.payload.hex()} for one in self._replies],
        }

    def show(self) -> None:
        """Print it for people."""
        answers.print(f"[bold]{' and '.join(self._formats)}[/]")
        for place, reading in enumerate(self._readings):
            past = ", of the past: never the latest" if reading.is_historical else ""
            answers.print(f"\n{escape(reading.source)} at {_time(reading.time) or 'its arrival'}{past}")
            answers.print(self._table(reading, self._stored[place] if self._stored else None))
        for status in self._statuses:
            state = "online" if status.is_online else "offline"
            answers.print(
                f"\n{escape(status.source)} is {state}, since {_time(status.time) or 'its arrival'}"
            )
        for reply in self._replies:
            answers.print(f"\nanswered on {escape(reply.topic)}: {reply.payload.hex()}", soft_wrap=True)
        if not (self._readings or self._statuses or self.has_faults):
            answers.print("It says nothing that is stored.")
        for refusal in self._refusals:
            where = f"{refusal.path}: " if refusal.path else ""
            said = f"{refusal.reason.value}: {where}found {refusal.found}; send {refusal.valid}"
            answers.print(f"\n[red]refused[/], {escape(said)}", soft_wrap=True)
        for fault in self._faults:
            answers.print(
                f"\n[red]refused[/], {escape(f'{fault.reason.value}: {fault.detail}')}", soft_wrap=True
            )

    def _table(self, reading: Reading, stored: dict[str, float] | None) -> Table:
        if self._kind is None or stored is None:
            table = Table("field", "value", "unit", box=None)
            for field, value in reading.values.items():
                table.add_row(escape(field), f"{value:g}", escape(reading.units.get(field, "")))
            return table
        table = Table(f"stored as {self._kind.name}", "value", "unit", box=None)
        for metric in self._kind.metrics:
            if metric.name in stored:
                table.add_row(metric.name, f"{stored[metric.name]:g}", escape(metric.unit))
        return table


def _time(seconds: float) -> str | None:
    return None if math.isnan(seconds) else format_timestamp(round(seconds * SECOND))
