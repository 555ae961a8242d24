"""The real servers, provisioned once into the shared cache, and directories they can reach."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.accounts import Account
from stack.servers import Servers, ensure_servers


@pytest.fixture(scope="session")
def servers() -> Servers:
    return ensure_servers(os.environ)


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
