"""The secrets' file: made once, private, never shown."""

from __future__ import annotations

import pathlib
import stat

import msgspec
import pytest

from cli.secrets import ensure_secrets, load_secrets, write_private
from cli.settings import SettingsError
from storage.database import MAINTENANCE_ROLE


def test_secrets_are_made_once_and_kept(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "city" / "secrets.json"
    assert load_secrets(path) is None
    made = ensure_secrets(path)
    assert ensure_secrets(path) == made
    assert load_secrets(path) == made


def test_a_role_that_came_later_gets_a_password_and_the_others_keep_theirs(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "secrets.json"
    made = ensure_secrets(path)
    older = {role: secret for role, secret in made.roles.items() if role != MAINTENANCE_ROLE}
    write_private(path, msgspec.json.encode(msgspec.structs.replace(made, roles=older)))
    completed = ensure_secrets(path)
    assert completed.roles.keys() == made.roles.keys()
    assert completed.roles.items() > older.items()
    assert completed.roles[MAINTENANCE_ROLE] != made.roles[MAINTENANCE_ROLE]
    assert load_secrets(path) == completed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_service_that_came_later_gets_a_password_too(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "secrets.json"
    made = ensure_secrets(path)
    older = {service: secret for service, secret in made.services.items() if service != "alatau-claims"}
    write_private(path, msgspec.json.encode(msgspec.structs.replace(made, services=older)))
    completed = ensure_secrets(path)
    assert completed.services.keys() == made.services.keys()
    assert completed.services.items() > older.items()
    assert completed.roles == made.roles


def test_only_the_owner_may_read_them(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "secrets.json"
    ensure_secrets(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_secret_is_in_what_is_printed_of_them(tmp_path: pathlib.Path) -> None:
    made = ensure_secrets(tmp_path / "secrets.json")
    for secret in (*made.roles.values(), *made.services.values(), made.api_key, made.sample_device_secret):
        assert secret not in f"{made} {made!r}"


def test_secrets_differ_from_stack_to_stack(tmp_path: pathlib.Path) -> None:
    first, second = (ensure_secrets(tmp_path / name) for name in ("a", "b"))
    assert not {*first.roles.values()} & {*second.roles.values()}


def test_a_file_is_replaced_whole_and_stays_private(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "env"
    path.write_text("old, and open to all")
    path.chmod(0o644)
    write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_file_is_named_and_not_overwritten(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text("{")
    with pytest.raises(SettingsError, match=r"secrets\.json is damaged"):
        ensure_secrets(path)
    assert path.read_text() == "{"
