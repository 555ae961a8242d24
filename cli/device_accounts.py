"""What the commands about devices share: telling the broker, and printing a secret."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, TextIO

import typer

from broker.admin import BrokerAdmin
from broker.snippets import Account, Address, Language, Trust, snippet
from cli.connections import broker_admin, broker_ca, broker_url
from cli.console import answers, errors
from cli.settings import Settings, SettingsError
from sensors.topics import Topics

SnippetLanguage = Annotated[
    Language, typer.Option("--snippet", help="Print how to send readings in this language.")
]


@contextlib.asynccontextmanager
async def told_broker(settings: Settings) -> AsyncIterator[BrokerAdmin | None]:
    """Lend who may change the broker's accounts; None, and a word about it afterwards, where nobody may."""
    admin = broker_admin(settings)
    if admin is not None:
        async with admin:
            yield admin
        return
    yield None
    errors.print("The broker was not told: set ALATAU_BROKER_ADMIN_PASSWORD, or restart it.")


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


@contextlib.contextmanager
def new_private_file(path: pathlib.Path) -> Iterator[TextIO]:
    """Lend a new file that only its owner can read; it is gone again if what it is for fails.

    Raises SettingsError if it can't be made. What is there already is kept: it may have the only copy of a secret.
    """
    try:
        file = open(path, "x", encoding="utf-8", opener=_private)  # noqa: SIM115 - Path.open takes no opener
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; give another file with --output") from None
    try:
        with file:
            yield file
    except BaseException:
        path.unlink()
        raise


def print_account(
    settings: Settings, account: Account, language: Language, file: TextIO | None = None
) -> None:
    """Print a device's account, once, and how to use it in a language; the latter into a file, if one is given."""
    shown = snippet(broker_address(settings), account, language)
    if file is not None:
        file.write(f"{shown.text}\n")
    answers.print(
        f"device  {account.device}\nuser    {account.user}\n"
        f"secret  {account.secret}   (shown once; only its hash is kept)\n",
        markup=False,
    )
    if file is not None:
        answers.print(f"How it sends readings is in {file.name}", markup=False, soft_wrap=True)
        return
    title = "A reading of it:" if shown.file is None else f"{shown.title}, for a file {shown.file}:"
    answers.print(f"{title}\n\n{shown.text}", markup=False, highlight=False, soft_wrap=True)


def broker_address(settings: Settings) -> Address:
    """Return where devices and gateways find the broker, and whom they are to trust."""
    url, topics = settings.mqtt_public_url or broker_url(settings), Topics(settings.topic_root)
    authority = broker_ca(settings, url)
    trust = None if authority is None else Trust(str(authority), authority.read_text())
    return Address(url, topics, trust)
