"""The command against the module's own database."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from broker.accounts import Service
from cli.local import LocalStack
from storage.database import connect
from tests.cli.command import Alatau
from tests.conftest import Database


@pytest.fixture
def alatau(database: Database, local_stack: LocalStack, tmp_path: pathlib.Path) -> Alatau:
    """The command of an operator, who has the owner's role and no broker to tell."""
    return Alatau({"ALATAU_DATABASE_URL": database.owner_url, "ALATAU_DATA_DIR": str(tmp_path / "data")})


@pytest.fixture
def telling(alatau: Alatau, local_stack: LocalStack) -> Alatau:
    """The command of an operator who may tell the broker, too."""
    settings = {
        "ALATAU_MQTT_URL": local_stack.mqtt_url,
        "ALATAU_BROKER_ADMIN_PASSWORD": local_stack.secrets.services[Service.ADMIN],
    }
    return Alatau({**alatau.settings, **settings})


@pytest.fixture
def bare(tmp_path: pathlib.Path) -> Alatau:
    """The command without any setting but a directory of its own."""
    return Alatau({"ALATAU_DATA_DIR": str(tmp_path / "data")})


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database.owner_url, application="test")
    yield connection
    await connection.close()
