"""``destination``: where alerts are delivered to, and what was given up."""

from __future__ import annotations

import asyncio
import re

import asyncpg
import pytest

from alerts.delivery import DeliveryOptions
from storage.delivery_list import DeliveryState, list_deliveries
from tests.alerts.outbox import Outbox, add_hook, raise_alert
from tests.alerts.receivers import hook
from tests.cli.command import Alatau
from tests.conftest import Database

pytestmark = pytest.mark.servers


async def test_a_destination_is_added_listed_and_removed_on_record(
    alatau: Alatau, connection: asyncpg.Connection
) -> None:
    made = alatau("destination", "add", "ops", "--webhook", "https://example.org/a", "--district", "gate")
    assert made.code == 0, made.errors
    secret = made.out.split()[1]
    assert secret.startswith("whsec_")
    duty = alatau(
        "destination",
        "add",
        "duty",
        "--email",
        "duty@example.org",
        "--severity",
        "critical",
        "--language",
        "kk",
    )
    assert "whsec_" not in duty.out
    listed = alatau("destination", "list").out
    assert "ops webhook https://example.org/a warning gate en 0 0 -" in listed
    assert "duty email duty@example.org critical - kk 0 0 -" in listed
    assert secret not in listed
    other = alatau("destination", "secret", "ops").out.split()[1]
    assert (
        await connection.fetchval("SELECT secret FROM alatau.destination WHERE name = 'ops'")
        == other
        != secret
    )
    assert alatau("destination", "remove", "ops").out == "removed ops"
    events = await connection.fetch("SELECT action FROM alatau.audit WHERE subject = 'ops' ORDER BY audit_id")
    assert [event["action"] for event in events] == [
        "add destination",
        "replace secret of destination",
        "delete destination",
    ]


async def test_a_test_tells_whether_it_arrived(
    alatau: Alatau, connection: asyncpg.Connection, database: Database
) -> None:
    outbox = Outbox(connection, DeliveryOptions(database.alerts_url))
    async with hook(answers=["500 the disk is full"], body=b"sorry") as receiver, outbox.working():
        await add_hook(connection, receiver.url, "tried")
        failed = await asyncio.to_thread(alatau, "destination", "test", "tried")
        arrived = await asyncio.to_thread(alatau, "destination", "test", "tried")
    assert (failed.code, failed.errors) == (1, "alatau: it did not arrive: status 500: sorry")
    assert (arrived.code, arrived.out) == (0, "it arrived")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"ALATAU_SMTP_URL": "mail.example"}, "ALATAU_SMTP_URL: .*write smtps://"),
        ({"ALATAU_SMTP_URL": "smtps://mail.example"}, "set ALATAU_SMTP_FROM"),
        (
            {"ALATAU_SMTP_URL": "smtps://mail.example", "ALATAU_SMTP_CA": "/nowhere.pem"},
            "ALATAU_SMTP_CA: /nowhere.pem",
        ),
        ({"ALATAU_WEBHOOK_NETWORKS": "10.0.0.1/8"}, "ALATAU_WEBHOOK_NETWORKS: "),
    ],
    ids=str,
)
def test_alert_does_not_start_with_settings_that_deliver_nowhere(
    bare: Alatau, settings: dict[str, str], why: str
) -> None:
    result = bare("alert", ALATAU_DATABASE_URL="postgresql://nobody@127.0.0.1:9/none", **settings)
    assert result.code == 1
    assert re.search(why, result.errors), result.errors


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["add", "x"], "give one of --webhook, --email and --mqtt"),
        (["add", "x", "--mqtt", "--email", "a@example.org"], "give one of"),
        (["add", "x", "--webhook", "https://127.0.0.1/"], "ALATAU_WEBHOOK_NETWORKS"),
        (["add", "mqtt", "--mqtt"], "there is a destination mqtt already"),
        (["add", "x", "--mqtt", "--district", "gat"], "did you mean"),
        (["remove", "nowhere"], "see: alatau destination list"),
        (["secret", "mqtt"], "there is no webhook mqtt"),
        (["test", "nowhere"], "see: alatau destination list"),
        (["test", "mqtt", "--wait", "0"], "start `alatau alert`"),
        (["replay", "nowhere"], "see: alatau destination list"),
    ],
    ids=" ".join,
)
def test_what_can_not_be_is_refused_with_what_to_do(alatau: Alatau, arguments: list[str], why: str) -> None:
    result = alatau("destination", *arguments)
    assert result.code == 1
    assert why in result.errors


def test_networks_that_are_none_are_told_with_the_setting(alatau: Alatau) -> None:
    add = ("destination", "add", "x", "--webhook", "http://10.1.2.3/")
    assert "ALATAU_WEBHOOK_NETWORKS" in alatau(*add, ALATAU_WEBHOOK_NETWORKS="10.1.2.3/8").errors
    assert alatau(*add, ALATAU_WEBHOOK_NETWORKS="10.0.0.0/8").code == 0


async def test_what_was_given_up_waits_again_after_a_replay(
    alatau: Alatau, connection: asyncpg.Connection
) -> None:
    for name in ("a", "b"):
        await raise_alert(connection, name)
    await connection.execute(
        "UPDATE alatau.delivery SET state = 'dead', finished_at = now(), attempts = 9 WHERE alert_id IS NOT NULL"
    )
    number = (await list_deliveries(connection))[0].number
    assert alatau("destination", "replay", "--number", str(number)).out == "1 waiting again"
    assert [one.state for one in await list_deliveries(connection, number=number)] == ["waiting"]
    assert alatau("destination", "replay").code == 0
    assert await list_deliveries(connection, state=DeliveryState.DEAD) == []
    event = await connection.fetchrow(
        "SELECT subject, detail FROM alatau.audit WHERE action = 'replay deliveries'"
    )
    assert event is not None
    assert event["detail"]["number"] == number
