"""Which unprivileged account the servers run as, and whether it can reach a path."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from stack.errors import StackError

CANDIDATES = ("alatau", "postgres", "nobody")


class Credentials(TypedDict, total=False):
    """The arguments of `subprocess` that make a child another user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine, by its numbers."""

    name: str
    uid: int
    gid: int


def server_account(data_dir: Path | None = None) -> Account | None:
    """Return whom the servers of `data_dir` run as, None for the caller itself.

    PostgreSQL refuses to run as root, so root lends the servers to the owner of data that exists,
    else to the first of `CANDIDATES` that exists. Raises StackError where there is none.
    """
    if os.geteuid() != 0:
        return None
    if data_dir is not None and data_dir.is_dir():
        status = data_dir.stat()
        if status.st_uid != 0:
            return Account(_name(status.st_uid), status.st_uid, status.st_gid)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise StackError(
        "PostgreSQL refuses to run as root, and none of the users alatau, postgres and nobody exists.",
        "Create one with `useradd --system alatau`, or run this as an ordinary user.",
    )


def credentials(account: Account | None) -> Credentials:
    """Return the arguments that start a child as `account`, without any of root's groups."""
    if account is None or os.geteuid() != 0:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def can_reach(path: Path, account: Account) -> bool:
    """Tell whether `account` may enter `path`, or the part of it that exists already.

    Reads mode bits alone: an access list that grants more is not seen, and costs a relocation.
    """
    resolved = path.resolve()
    return all(_may_enter(part, account) for part in (resolved, *resolved.parents) if part.exists())


def require_reach(path: Path, account: Account | None) -> None:
    """Raise StackError if `account` may not enter `path`."""
    if account is not None and not can_reach(path, account):
        raise StackError(
            f"The user {account.name}, who runs the servers for root, cannot reach {path}.",
            "Choose a data directory outside of private ones, or run this as an ordinary user.",
        )


def _may_enter(path: Path, account: Account) -> bool:
    status = path.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
