"""Directories that the servers can reach, and who cannot."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.accounts import Account


@pytest.fixture
def directory() -> Iterator[Path]:
    """Everybody may enter it, which is not so of pytest's own temporary directories."""
    path = Path(tempfile.mkdtemp(prefix="alatau-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def stranger() -> Account:
    """A user who owns nothing here."""
    return Account("stranger", 54_321, 54_321)
