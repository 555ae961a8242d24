"""The generated secrets of a local stack: made once, kept in one file that only its owner can read."""

from __future__ import annotations

import os
import pathlib
import secrets

import msgspec

from broker.accounts import Service
from broker.secrets import generate_secret, hash_secret
from cli.settings import SettingsError
from storage.api_keys import generate_key
from storage.database import ROLES
from storage.devices import Credential


class StackSecrets(msgspec.Struct, frozen=True):
    """Passwords of the database's roles and the broker's services, the first API key, the sample device."""

    roles: dict[str, str]
    services: dict[str, str]
    api_key: str
    fleet_secret: str
    sample_device_secret: str

    def masked(self) -> str:
        """Return a text that says these exist, for logs; never the secrets themselves."""
        return f"{len(self.roles)} roles, {len(self.services)} services, 1 API key"

    def __repr__(self) -> str:
        return f"StackSecrets({self.masked()})"


def load_secrets(path: pathlib.Path) -> StackSecrets | None:
    """Return the secrets of a stack that was set up before, or None. Raises SettingsError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=StackSecrets)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise SettingsError(f"{path} is damaged ({error}); restore it, or move the directory away") from error


def ensure_secrets(path: pathlib.Path) -> StackSecrets:
    """Return the stack's secrets, generating them the first time; later, those that a newer version needs."""
    if (stored := load_secrets(path)) is not None:
        return _completed(path, stored)
    generated = StackSecrets(
        roles={role: generate_secret() for role in ROLES},
        services={service.value: generate_secret() for service in Service},
        api_key=generate_key(),
        fleet_secret=secrets.token_urlsafe(32),
        sample_device_secret=generate_secret(),
    )
    _write(path, generated)
    return generated


def _completed(path: pathlib.Path, stored: StackSecrets) -> StackSecrets:
    roles = {role: generate_secret() for role in ROLES if role not in stored.roles}
    services = {service.value: generate_secret() for service in Service if service not in stored.services}
    if not roles and not services:
        return stored
    completed = msgspec.structs.replace(
        stored, roles={**stored.roles, **roles}, services={**stored.services, **services}
    )
    _write(path, completed)
    return completed


def _write(path: pathlib.Path, made: StackSecrets) -> None:
    write_private(path, msgspec.json.format(msgspec.json.encode(made)))


def write_private(path: pathlib.Path, content: bytes) -> None:
    """Replace a file by one that only its owner can read, never half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    partial.replace(path)


def credential_of(secret: str) -> Credential:
    """Return what is stored of a device's secret."""
    hashed = hash_secret(secret)
    return Credential(hashed.salt, hashed.hash, hashed.iterations)
