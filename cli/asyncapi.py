"""``asyncapi``: the device contract for machines, made of the code that holds it."""

from __future__ import annotations

import json
import pathlib
from typing import Annotated

import typer

from cli.asyncapi_document import Place, document
from cli.connections import broker_url
from cli.console import answers
from cli.settings import load_settings
from sensors.catalogue import build_catalogue, builtin_file, read_city_file
from sensors.topics import Topics


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Administration")(asyncapi)


def asyncapi(
    catalog: Annotated[
        pathlib.Path | None, typer.Option(help="Kinds of this city file; without it, Alatau City.")
    ] = None,
) -> None:
    """Print the device contract as an AsyncAPI 3.0 document: topics, payloads, kinds with units and ranges, answers.

    Made for generators of code, of tests and of pages. Needs no servers.

    [dim]Examples:[/]
      alatau asyncapi > asyncapi.json
      alatau asyncapi --catalog city.toml
    """
    settings = load_settings()
    content = read_city_file(catalog) if catalog else builtin_file("alatau")
    catalogue = build_catalogue(content, str(catalog or "alatau.toml"))
    place = Place(
        settings.mqtt_public_url or broker_url(settings),
        settings.mqtt_certificates_port,
        Topics(settings.topic_root),
        settings.docs_url,
    )
    text = json.dumps(document(catalogue, place), ensure_ascii=False, indent=2)
    answers.print(text, markup=False, soft_wrap=True)
