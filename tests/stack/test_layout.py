import os
from pathlib import Path

import pytest

from stack.accounts import Account, can_reach, require_reach, server_account
from stack.errors import StackError
from stack.layout import cache_directory, make_directory, place_cache, place_data


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"ALATAU_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/a"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/alatau"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/alatau"),
        ({"HOME": "/h"}, "/h/.cache/alatau"),
    ],
)
def test_cache_is_where_the_environment_asks_for_it(env: dict[str, str], expected: str) -> None:
    assert cache_directory(env) == Path(expected)


def test_reachable_directories_stay_where_they_are(directory: Path, stranger: Account) -> None:
    placement = place_data(directory / "data", stranger, directory / "fallback")
    assert placement.path == (directory / "data").resolve()
    assert not placement.moved
    assert placement.note == ""


def test_data_in_a_private_directory_is_relocated_and_the_user_is_told(
    directory: Path, stranger: Account
) -> None:
    private = directory / "private"
    private.mkdir(mode=0o700)
    placement = place_data(private / "data", stranger, directory / "fallback")
    assert placement.moved
    assert placement.path.parent == directory / "fallback"
    assert placement.path.name.startswith("data-")
    assert str(private) in placement.note
    assert "stranger" in placement.note


def test_two_private_directories_are_relocated_apart(directory: Path, stranger: Account) -> None:
    for name in ("one", "two"):
        (directory / name).mkdir(mode=0o700)
    fallback = directory / "fallback"
    one, two = (place_data(directory / name / "data", stranger, fallback).path for name in ("one", "two"))
    assert one != two
    assert place_data(directory / "one/data", stranger, fallback).path == one


def test_cache_in_a_private_directory_is_relocated(directory: Path, stranger: Account) -> None:
    (directory / "private").mkdir(mode=0o700)
    env = {"ALATAU_CACHE_DIR": str(directory / "private/cache")}
    assert place_cache(env, stranger, directory / "fallback").path.parent == directory / "fallback"
    assert not place_cache(env, None, directory / "fallback").moved


def test_link_into_a_reachable_place_is_followed(directory: Path, stranger: Account) -> None:
    (directory / "private").mkdir(mode=0o700)
    (directory / "open").mkdir(mode=0o755)
    (directory / "private/link").symlink_to(directory / "open")
    placement = place_data(directory / "private/link/data", stranger, directory / "fallback")
    assert placement.path == directory / "open/data"


def test_the_data_directory_itself_may_be_private(directory: Path, stranger: Account) -> None:
    (directory / "data").mkdir(mode=0o700)
    assert not place_data(directory / "data", stranger, directory / "fallback").moved


def test_nowhere_to_go_says_what_to_do(directory: Path, stranger: Account) -> None:
    for name in ("private", "fallback"):
        (directory / name).mkdir(mode=0o700)
    with pytest.raises(StackError) as caught:
        place_data(directory / "private/data", stranger, directory / "fallback")
    assert "chmod a+x" in caught.value.remedy


def test_owner_and_group_count_as_the_kernel_counts_them(directory: Path) -> None:
    status = directory.stat()
    directory.chmod(0o077)
    assert not can_reach(directory, Account("owner", status.st_uid, 54_321))
    directory.chmod(0o710)
    assert can_reach(directory, Account("member", 54_321, status.st_gid))
    with pytest.raises(StackError, match="other, who"):
        require_reach(directory, Account("other", 54_321, 54_321))
    directory.chmod(0o755)


def test_unwritable_place_says_what_to_do() -> None:
    with pytest.raises(StackError) as caught:
        make_directory(Path("/proc/alatau"))
    assert "ALATAU_CACHE_DIR" in caught.value.remedy


def test_ordinary_users_run_the_servers_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert server_account() is None


def test_root_lends_the_servers_to_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    account = server_account()
    assert account is not None
    assert account.uid != 0


def test_machine_without_unprivileged_users_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("stack.accounts.CANDIDATES", ("no-such-user",))
    with pytest.raises(StackError) as caught:
        server_account()
    assert "useradd" in caught.value.remedy
