"""Where the servers' programs and data go."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stack.accounts import Account, can_reach
from stack.errors import StackError

DATA_FALLBACK = Path("/var/lib/alatau")
CACHE_FALLBACK = Path("/var/cache/alatau")


@dataclass(frozen=True, slots=True)
class Placement:
    """A directory as it was asked for, and where it is."""

    requested: Path
    path: Path
    account: Account | None

    @property
    def moved(self) -> bool:
        """Tell whether the directory is elsewhere than asked for."""
        return self.path != self.requested

    @property
    def note(self) -> str:
        """Return the sentence that tells the user about a move, empty where there was none."""
        if not self.moved or self.account is None:
            return ""
        return f"{self.path} stands in for {self.requested}, which the user {self.account.name} cannot reach."


def cache_directory(env: Mapping[str, str]) -> Path:
    """Return where downloads and provisioned servers are kept, as the environment asks for it."""
    if chosen := env.get("ALATAU_CACHE_DIR"):
        return Path(chosen).expanduser().absolute()
    base = Path(env.get("XDG_CACHE_HOME") or "")
    # The XDG specification has relative paths ignored.
    if base.is_absolute():
        return base / "alatau"
    return Path(env.get("HOME") or Path.home()) / ".cache" / "alatau"


def place_cache(
    env: Mapping[str, str], account: Account | None, fallback: Path = CACHE_FALLBACK
) -> Placement:
    """Place the cache where `account` can run programs from it; raises StackError where nothing is left."""
    requested = cache_directory(env).resolve()
    return _place(requested, fallback / _short_hash(requested), account, requested)


def place_data(requested: Path, account: Account | None, fallback: Path = DATA_FALLBACK) -> Placement:
    """Place a server's data directory where `account` can reach it; raises StackError likewise."""
    requested = requested.resolve()
    substitute = fallback / f"{requested.name}-{_short_hash(requested)}"
    # The directory itself will belong to the account.
    return _place(requested, substitute, account, requested.parent)


def make_directory(path: Path) -> None:
    """Create `path` and its missing parents; root's are open to whoever runs the servers."""
    missing = [part for part in (path, *path.parents) if not part.exists()]
    try:
        for part in reversed(missing):
            part.mkdir(exist_ok=True)
            if os.geteuid() == 0:
                part.chmod(0o755)
    except OSError as error:
        raise StackError(
            f"The directory {path} cannot be created: {error.strerror}.",
            "Choose a directory that you may write to: ALATAU_CACHE_DIR for the servers' programs, "
            "the data directory for the rest.",
        ) from error


def _place(requested: Path, substitute: Path, account: Account | None, must_reach: Path) -> Placement:
    if account is None or can_reach(must_reach, account):
        return Placement(requested, requested, account)
    if not can_reach(substitute.parent, account):
        raise StackError(
            f"The user {account.name}, who runs the servers for root, can reach neither {requested} "
            f"nor {substitute}.",
            f"Open one of them with `chmod a+x` on it and the directories above it, or choose another "
            f"directory, or run this as an ordinary user instead of {account.name}.",
        )
    return Placement(requested, substitute, account)


def _short_hash(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:8]
