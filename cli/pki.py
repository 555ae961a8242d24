"""``pki``: the certificate authority of the data directory."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from cli.certificates import certificate_store
from cli.console import answers
from cli.device_certificates import DEVICE_COMMANDS
from cli.settings import load_settings

pki = typer.Typer(
    no_args_is_help=True, help="Certificates: an authority of our own for broker, API and devices."
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command in DEVICE_COMMANDS.items():
        pki.command(name)(command)
    app.add_typer(pki, name="pki", rich_help_panel="Administration")


@pki.command("init")
def init() -> None:
    """Make the authority, unless there is one, and print the file of its certificate, which clients trust.

    Keep its key, ca.key beside it, to yourself: whoever has it can be the broker, or any device.

    [dim]Example:[/]
      alatau pki init
    """
    store = certificate_store(load_settings())
    store.ensure_authority(dt.datetime.now(dt.UTC))
    answers.print(str(store.authority_file), markup=False, soft_wrap=True)


@pki.command("server")
def server(
    name: Annotated[
        list[str] | None, typer.Option(help="Host name or address that it shall answer to, too.")
    ] = None,
) -> None:
    """Issue the certificate of broker and API, and print its file.

    It answers to localhost, this host's name, and each --name that was ever given. One that is there is kept until
    less than a third of its year is left. What runs takes a new one up by itself.

    [dim]Examples:[/]
      alatau pki server
      alatau pki server --name mqtt.alatau.kz --name 192.0.2.10
    """
    store = certificate_store(load_settings())
    store.ensure_server(name or [], dt.datetime.now(dt.UTC))
    answers.print(str(store.server_file), markup=False, soft_wrap=True)


@pki.command("show")
def show() -> None:
    """List the certificates: whose they are, until when they hold, their SHA-256. No keys.

    [dim]Example:[/]
      alatau pki show
    """
    store = certificate_store(load_settings())
    for path, certificate in store.listed():
        file, until = path.relative_to(store.directory), f"{certificate.expires:%Y-%m-%d}"
        line = f"{file}  until {until}  {' '.join(certificate.names)}\n  SHA-256 {certificate.fingerprint}"
        answers.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
