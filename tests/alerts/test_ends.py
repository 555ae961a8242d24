"""Who was told of an alert is told what becomes of it, whatever has changed by then."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable

import asyncpg
import pytest

from sensors.alerts import Severity
from sensors.destinations import DestinationType
from storage.deliveries import load_due, load_recipients
from storage.destinations import change_destination, find_destination, list_destinations
from tests.alerts.outbox import Outbox, add, add_hook, change, mail_of, raise_alert
from tests.alerts.receivers import hook, mailbox

pytestmark = pytest.mark.servers

URL = "https://example.org/"


async def told(outbox: Outbox) -> dict[str, list[str | None]]:
    """Return by destination which states it is told of, in order."""
    found: dict[str, list[str | None]] = {}
    for one in reversed(await outbox.all()):
        found.setdefault(one.destination, []).append(one.event)
    return found


async def changed(connection: asyncpg.Connection, name: str, **more: object) -> None:
    """Have a destination ask for something else."""
    stored = await find_destination(connection, name)
    assert stored is not None
    assert await change_destination(connection, dataclasses.replace(stored.destination, **more))  # type: ignore[arg-type]


async def test_who_heard_the_beginning_hears_the_end_whatever_they_ask_for_by_then(outbox: Outbox) -> None:
    await add_hook(outbox.connection, URL, "of the district", districts=("gate",))
    await add_hook(outbox.connection, URL, "of the grave", severity=Severity.CRITICAL)
    await add_hook(outbox.connection, URL, "of all", severity=Severity.INFO)
    await add_hook(outbox.connection, URL, "of another", districts=("golden",))
    number = await raise_alert(outbox.connection, "a")
    # The device is moved, it is less grave by now, and somebody wants to hear of noise alone.
    await outbox.connection.execute("UPDATE alatau.alert SET district = 'growing', severity = 'info'")
    await changed(outbox.connection, "of all", kinds=("noise",))
    for state in ("firing", "acknowledged", "resolved"):
        await change(outbox.connection, number, state)
    states = ["firing", "firing", "acknowledged", "resolved"]
    assert await told(outbox) == dict.fromkeys(("of the district", "of the grave", "of all"), states)


async def test_who_is_disabled_meanwhile_is_told_of_the_end_when_that_is_over(outbox: Outbox) -> None:
    async with hook() as receiver:
        await add_hook(outbox.connection, receiver.url)
        number = await raise_alert(outbox.connection, "a")
        async with outbox.working():
            await outbox.until("delivered")
        await changed(outbox.connection, "hook", is_enabled=False)
        for state in ("acknowledged", "resolved"):
            await change(outbox.connection, number, state)
        await raise_alert(outbox.connection, "b", "firing", "resolved")
        assert await load_recipients(outbox.connection) == []
        await changed(outbox.connection, "hook", is_enabled=True)
        async with outbox.working():
            await outbox.until("delivered", "delivered")
    assert [one.content["type"] for one in receiver.received] == ["alert.firing", "alert.resolved"]


async def test_another_severity_is_told_and_each_message_has_that_of_its_time(outbox: Outbox) -> None:
    async with hook() as receiver:
        await add_hook(outbox.connection, receiver.url)
        number = await raise_alert(outbox.connection, "a", severity="warning")
        await outbox.connection.execute("UPDATE alatau.alert SET severity = 'critical'")
        await change(outbox.connection, number, "firing")
        async with outbox.working():
            await outbox.until("delivered", "delivered")
    said = [(one.content["type"], one.content["data"]["severity"]) for one in receiver.received]
    assert said == [("alert.firing", "warning"), ("alert.firing", "critical")]


async def test_no_question_about_the_outbox_reads_all_of_it(outbox: Outbox) -> None:
    connection = outbox.connection
    await add_hook(connection, URL)
    await raise_alert(connection, "a")
    await connection.execute(
        """
        INSERT INTO alatau.delivery (destination_id, alert_id, alert_event_id, state, finished_at)
        SELECT destination_id, alert_id, alert_event_id, made.state, now()
        FROM alatau.delivery CROSS JOIN (VALUES ('delivered', 6000), ('dead', 20)) AS made (state, count),
             generate_series(1, made.count)
        """
    )
    await connection.execute(
        """
        WITH raised AS (
            INSERT INTO alatau.alert (kind_of_rule, fingerprint, severity, state, title, sentence, since, changed_at,
                                      clear_seconds)
            SELECT 'threshold', 'storm ' || n, 'critical', 'firing', '', '', now(), now(), 0
            FROM generate_series(1, 3000) AS n RETURNING id)
        INSERT INTO alatau.alert_event (alert_id, time, state, severity, sentence)
        SELECT id, now(), 'firing', 'critical', '' FROM raised
        """
    )
    await connection.execute("ANALYZE alatau.delivery, alatau.alert, alatau.destination")
    (recipient,) = await load_recipients(connection)
    assert len(await load_due(connection, recipient.number, 100)) == 100
    for question in (
        list_destinations(connection),
        load_recipients(connection),
        load_due(connection, recipient.number, 100),
    ):
        plan = await planned(connection, question)
        assert "Seq Scan on delivery" not in plan, plan


async def planned(connection: asyncpg.Connection, question: Awaitable[object]) -> str:
    """Return how the database goes about a question."""
    asked: list[asyncpg.connection.LoggedQuery] = []
    with connection.query_logger(asked.append):
        await question
        await asyncio.sleep(0)  # it is told in the loop's next round
    (query,) = asked
    return "\n".join(line for (line,) in await connection.fetch(f"EXPLAIN {query.query}", *query.args))


async def test_a_digest_that_is_too_long_arrives_as_several(outbox: Outbox) -> None:
    async with mailbox() as box:
        box.judge = lambda raw: "552 5.3.4 too long" if raw.count(b"It is so") > 3 else "250 kept"
        await add(outbox.connection, "duty", DestinationType.EMAIL, recipients=("duty@example.org",))
        for n in range(8):
            await raise_alert(outbox.connection, f"a{n}")
        async with outbox.working({DestinationType.EMAIL: mail_of(box.port, gather_seconds=0.0)}):
            await outbox.until_settled()
    assert [mail["Subject"] for mail in box.mails] == ["[Alatau] 2 changes of alerts: 2 firing"] * 4
    assert await outbox.states() == [("delivered", 1)] * 8


async def test_one_message_that_no_server_takes_keeps_none_of_its_digest_back(outbox: Outbox) -> None:
    async with mailbox() as box:
        box.judge = lambda raw: "554 5.6.0 malformed" if b"poison" in raw else "250 kept"
        await add(outbox.connection, "duty", DestinationType.EMAIL, recipients=("duty@example.org",))
        for name in ("a", "b", "poison", "c", "d"):
            await raise_alert(outbox.connection, name)
        async with outbox.working({DestinationType.EMAIL: mail_of(box.port, gather_seconds=0.0)}):
            await outbox.until_settled()
    assert await outbox.states() == [("delivered", 1), ("delivered", 1), ("dead", 1), *[("delivered", 1)] * 2]


async def test_what_a_mail_server_refuses_for_its_own_reasons_is_tried_again(outbox: Outbox) -> None:
    verdicts = ["554 5.7.1 on a block list", "550 not now"]
    async with mailbox() as box:
        box.judge = lambda _: verdicts.pop(0) if verdicts else "250 kept"
        await add(outbox.connection, "duty", DestinationType.EMAIL, recipients=("duty@example.org",))
        for name in ("a", "b"):
            await raise_alert(outbox.connection, name)
        async with outbox.working({DestinationType.EMAIL: mail_of(box.port, gather_seconds=0.0)}):
            await outbox.until("delivered", "delivered")
    assert await outbox.states() == [("delivered", 3)] * 2
