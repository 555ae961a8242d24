"""An outbox in a database of the module's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from alerts.delivery import DeliveryOptions
from storage.database import connect
from tests.alerts.outbox import Outbox
from tests.conftest import Database


@pytest.fixture(scope="module")
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database.owner_url, application="test")
    yield connection
    await connection.close()


@pytest.fixture
async def outbox(owner: asyncpg.Connection, database: Database) -> Outbox:
    """An outbox without destinations, alerts and deliveries."""
    await owner.execute("TRUNCATE alatau.destination, alatau.alert, alatau.alert_event, alatau.delivery")
    return Outbox(owner, DeliveryOptions(database.alerts_url, first_wait_seconds=0.02, turn_seconds=0.01))
