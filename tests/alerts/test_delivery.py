"""The outbox and who works on it: a real database, real receivers, crashes and storms."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import pathlib
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest

from cli.local import LocalStack
from sensors.alerts import Severity
from sensors.destinations import DestinationType
from stack.ports import free_port
from storage.database import connect
from storage.deliveries import forget_finished, load_told
from storage.delivery_list import replay_dead
from storage.destinations import order_test, replace_secret
from storage.errors import RetryableError, classify
from tests.alerts.making import PATTERN
from tests.alerts.outbox import Outbox, add, add_hook, change, mail_of, raise_alert
from tests.alerts.receivers import hook, mailbox
from tests.cli.command import start
from tests.conftest import Database

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
async def superuser(local_stack: LocalStack) -> AsyncIterator[asyncpg.Connection]:
    """Sees what every role waits for."""
    connection = await connect(local_stack.postgres.superuser_url, application="test")
    yield connection
    await connection.close()


async def test_each_event_of_an_alert_that_fired_is_delivered_in_order(outbox: Outbox) -> None:
    async with hook() as receiver, outbox.working():
        await add_hook(outbox.connection, receiver.url)
        alert = await raise_alert(outbox.connection, "a", "pending", "firing")
        await change(outbox.connection, alert, "acknowledged")
        await change(outbox.connection, alert, "resolved")
        received = await receiver.until(3)
        await outbox.until("delivered", "delivered", "delivered")
    assert [one.content["type"] for one in received] == [
        "alert.firing",
        "alert.acknowledged",
        "alert.resolved",
    ]
    first, _, last = (one.content["data"] for one in received)
    assert (first["id"], first["state"], first["resolved_at"]) == (str(alert), "firing", None)
    assert last["resolved_at"] is not None
    assert len({one.id for one in received}) == 3


async def test_what_is_delivered_says_in_every_language_what_was_said_then(outbox: Outbox) -> None:
    number = await raise_alert(outbox.connection, "a")
    await outbox.connection.execute(
        "UPDATE alatau.alert_event SET message = $2 WHERE alert_id = $1 AND state = 'firing'",
        number,
        PATTERN.message,
    )
    events = await outbox.connection.fetch("SELECT id FROM alatau.alert_event WHERE alert_id = $1", number)
    alerts = await load_told(outbox.connection, [row["id"] for row in events])
    assert [one.then.message for one in alerts.values()] == [PATTERN.message]


async def test_what_did_not_come_to_fire_is_not_told(outbox: Outbox) -> None:
    await add_hook(outbox.connection, "https://example.org/")
    await raise_alert(outbox.connection, "a", "pending", "resolved")
    assert await outbox.all() == []


async def test_a_destination_gets_what_it_asked_for_and_nothing_else(outbox: Outbox) -> None:
    url = "https://example.org/"
    await add_hook(outbox.connection, url, "all", severity=Severity.INFO)
    await add_hook(outbox.connection, url, "grave", severity=Severity.CRITICAL)
    await add_hook(outbox.connection, url, "gate", districts=("gate",))
    await add_hook(outbox.connection, url, "noise", kinds=("noise", "weather"))
    await add_hook(outbox.connection, url, "off", severity=Severity.INFO, is_enabled=False)
    for severity, district, kind in (
        ("info", "gate", "noise"),
        ("warning", "golden", "noise"),
        ("critical", "gate", None),
        ("warning", None, None),
    ):
        await raise_alert(
            outbox.connection,
            f"{severity} {district} {kind}",
            severity=severity,
            district=district,
            kind=kind,
        )
    found: dict[str, list[str]] = {}
    titles = {
        row["id"]: row["title"] for row in await outbox.connection.fetch("SELECT id, title FROM alatau.alert")
    }
    for one in reversed(await outbox.all()):
        found.setdefault(one.destination, []).append(titles[one.alert])
    assert found == {
        "all": ["info gate noise", "warning golden noise", "critical gate None", "warning None None"],
        "grave": ["critical gate None"],
        "gate": ["critical gate None"],
        "noise": ["warning golden noise"],
    }


async def test_an_event_that_is_undone_is_delivered_to_nobody(outbox: Outbox) -> None:
    await add_hook(outbox.connection, "https://example.org/")
    with contextlib.suppress(ZeroDivisionError):
        async with outbox.connection.transaction():
            await raise_alert(outbox.connection, "a")
            raise ZeroDivisionError
    assert await outbox.all() == []


async def test_a_failure_is_repeated_with_the_same_id_until_it_arrives(outbox: Outbox) -> None:
    async with hook(answers=["500 No", "503 No", "302 No"]) as receiver, outbox.working():
        await add_hook(outbox.connection, receiver.url)
        await raise_alert(outbox.connection, "a")
        received = await receiver.until(4)
        await outbox.until("delivered")
    assert len({one.id for one in received}) == 1
    assert await outbox.states() == [("delivered", 4)]


async def test_later_events_of_an_alert_wait_for_the_one_that_did_not_arrive(outbox: Outbox) -> None:
    async with hook(answers=["500 No", "500 No"]) as receiver:
        await add_hook(outbox.connection, receiver.url)
        first = await raise_alert(outbox.connection, "a", "firing", "resolved")
        second = await raise_alert(outbox.connection, "b")
        async with outbox.working():
            received = await receiver.until(5)
            await outbox.until(*["delivered"] * 3)
    told = [(one.content["data"]["id"], one.content["data"]["state"]) for one in received]
    assert [one for one in told if one[0] == str(first)][-2:] == [
        (str(first), "firing"),
        (str(first), "resolved"),
    ]
    assert told.count((str(first), "resolved")) == 1
    assert (str(second), "firing") in told


async def test_a_message_that_never_arrives_holds_no_others_up(outbox: Outbox) -> None:
    async with hook(refused=b'"title":"poison"') as receiver:
        await add_hook(outbox.connection, receiver.url)
        await raise_alert(outbox.connection, "poison")
        await outbox.connection.execute(
            "UPDATE alatau.delivery SET attempts = 12"
        )  # it is tried once an hour
        for name in ("a", "b"):
            await raise_alert(outbox.connection, name)
        async with outbox.working():
            await outbox.until("waiting", "delivered", "delivered")
    assert await outbox.states() == [("waiting", 13), ("delivered", 1), ("delivered", 1)]


async def test_a_destination_that_nobody_foresaw_stops_no_other(outbox: Outbox) -> None:
    async with hook() as receiver:
        # Such as one that an earlier version took: no host can be called so.
        await add_hook(outbox.connection, "http://a..b/x", "odd")
        await add_hook(outbox.connection, receiver.url)
        async with outbox.working():
            await raise_alert(outbox.connection, "a")
            await receiver.until(1)
            async with asyncio.timeout(10):
                while not any("UnicodeError" in (one.last_error or "") for one in await outbox.all()):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)


async def test_a_destination_that_hangs_holds_no_other_up(outbox: Outbox) -> None:
    held = asyncio.Event()
    async with hook(held=held) as slow, hook() as quick:
        await add_hook(outbox.connection, slow.url, "slow")
        await add_hook(outbox.connection, quick.url, "quick")
        async with outbox.working():
            for n in range(5):
                await raise_alert(outbox.connection, f"a{n}")
            await slow.until(1)
            await quick.until(5)
            assert len(slow.received) == 1
            held.set()


async def test_after_a_day_it_is_given_up_listed_and_can_be_replayed(outbox: Outbox) -> None:
    async with hook(answer="500 No") as receiver:
        await add_hook(outbox.connection, receiver.url)
        for name in ("a", "b"):
            await raise_alert(outbox.connection, name)
        await outbox.connection.execute(
            "UPDATE alatau.delivery SET waiting_since = now() - interval '25 hours'"
        )
        async with outbox.working():
            await outbox.until("dead", "dead")
        # One was tried, and the other is for the same that does not answer.
        assert len(receiver.received) == 1
        assert {one.last_error for one in await outbox.all()} == {"given up: status 500"}
        receiver.answer = "204 Yes"
        assert await replay_dead(outbox.connection, "another") == (0, 0)
        assert await replay_dead(outbox.connection, "hook") == (2, 0)
        async with outbox.working():
            await outbox.until("delivered", "delivered")
    assert len(receiver.received) == 3


async def test_who_is_gone_is_not_asked_again(outbox: Outbox) -> None:
    async with hook(answer="410 Gone") as receiver:
        await add_hook(outbox.connection, receiver.url)
        await raise_alert(outbox.connection, "a")
        async with outbox.working():
            await outbox.until("dead")
    assert await outbox.states() == [("dead", 1)]


async def test_a_test_is_tried_once_and_at_once_and_when_it_arrives_so_does_what_waits(
    outbox: Outbox,
) -> None:
    async with hook(answer="500 No") as receiver:
        await add_hook(outbox.connection, receiver.url)
        await raise_alert(outbox.connection, "a")
        async with outbox.working(first_wait_seconds=3600.0):
            await receiver.until(1)
            await order_test(outbox.connection, "hook")
            await outbox.until("waiting", "dead")
            receiver.answer = "200 Yes"
            await order_test(outbox.connection, "hook")
            # It is there again: what waits does not wait for an hour.
            await outbox.until("delivered", "dead", "delivered")
    told = [one.content["type"] for one in receiver.received]
    assert told == ["alert.firing", "test", "test", "alert.firing"]


async def test_with_a_new_secret_messages_are_signed_with_both_for_the_grace(outbox: Outbox) -> None:
    async with hook() as receiver, outbox.working():
        await add_hook(outbox.connection, receiver.url)
        for grace in (dt.timedelta(days=1), dt.timedelta(0)):
            await replace_secret(outbox.connection, "hook", f"whsec_{'A' * 32}", grace)
            await order_test(outbox.connection, "hook")
            await receiver.until(1 if grace else 2)
    signatures = [one.headers["webhook-signature"].split(" ") for one in receiver.received]
    assert [len(some) for some in signatures] == [2, 1]


async def test_a_destination_gets_no_more_than_its_share_and_the_rest_waits(outbox: Outbox) -> None:
    async with hook() as receiver:
        await add_hook(outbox.connection, receiver.url, per_minute=3)
        for n in range(5):
            await raise_alert(outbox.connection, f"a{n}")
        async with outbox.working():
            await outbox.until(*["delivered"] * 3, "waiting", "waiting")
            # Who tests does not wait for a share.
            await order_test(outbox.connection, "hook")
            await outbox.until(*["delivered"] * 3, "waiting", "waiting", "delivered")
    assert len(receiver.received) == 4


async def test_a_storm_is_one_mail(outbox: Outbox) -> None:
    async with mailbox() as box:
        await add(outbox.connection, "duty", DestinationType.EMAIL, recipients=("duty@example.org",))
        for n in range(300):
            await raise_alert(outbox.connection, f"a{n}")
        sender = mail_of(box.port, gather_seconds=0.0)
        async with outbox.working({DestinationType.EMAIL: sender}):
            await outbox.until_settled()
    assert len(box.mails) == 1
    assert box.mails[0]["Subject"] == "[Alatau] 300 changes of alerts: 300 firing"


async def test_the_first_of_a_storm_waits_for_the_others_and_a_test_does_not(outbox: Outbox) -> None:
    async with mailbox() as box:
        await add(outbox.connection, "duty", DestinationType.EMAIL, recipients=("duty@example.org",))
        sender = mail_of(box.port, gather_seconds=60.0)
        await raise_alert(outbox.connection, "a")
        async with outbox.working({DestinationType.EMAIL: sender}):
            await raise_alert(outbox.connection, "b")
            await order_test(outbox.connection, "duty")
            await box.until(1)
            await outbox.until_settled()
    assert box.mails[0]["Subject"].startswith("[Alatau] 3 changes of alerts")


async def test_what_is_not_set_up_is_tried_again_and_says_what_to_set(outbox: Outbox) -> None:
    await add(outbox.connection, "duty", DestinationType.EMAIL, recipients=("duty@example.org",))
    async with outbox.working():
        await order_test(outbox.connection, "duty")
        await outbox.until("dead")
    assert "ALATAU_SMTP_URL" in str((await outbox.all())[0].last_error)


async def test_finished_deliveries_are_forgotten_after_a_while_and_those_that_wait_are_not(
    outbox: Outbox,
) -> None:
    await add_hook(outbox.connection, "https://example.org/")
    for name in ("old", "new", "going on", "waiting"):
        await raise_alert(outbox.connection, name)
    await outbox.connection.execute(
        "UPDATE alatau.alert SET state = 'resolved', resolved_at = now() WHERE title IN ('old', 'new')"
    )
    numbers = [one.number for one in reversed(await outbox.all())]
    # Who heard that something began is to hear its end, however long it goes on.
    for number, age in zip(numbers, (91, 89, 91), strict=False):
        await outbox.connection.execute(
            """
            UPDATE alatau.delivery SET state = 'dead', finished_at = now() - $2 * interval '1 day'
            WHERE delivery_id = $1
            """,
            number,
            age,
        )
    await forget_finished(outbox.connection, dt.timedelta(days=90))
    assert sorted(one.number for one in await outbox.all()) == numbers[1:]


async def test_the_database_may_end_the_connection_and_the_next_run_goes_on(
    outbox: Outbox, superuser: asyncpg.Connection
) -> None:
    async with hook() as receiver:
        await add_hook(outbox.connection, receiver.url)
        run = asyncio.create_task(outbox.deliveries({}).run(), name="test.deliveries")
        # Longer than it takes to look at the outbox where no word is heard.
        async with asyncio.timeout(40):
            while not await superuser.fetchval(  # noqa: ASYNC110 - the database tells nobody
                """
                SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE application_name = 'alatau-alert-delivery'
                """
            ):
                await asyncio.sleep(0.01)
            await raise_alert(outbox.connection, "a")
            (ended,) = await asyncio.gather(run, return_exceptions=True)
        assert isinstance(ended, Exception)
        assert isinstance(classify(ended), RetryableError)
        async with outbox.working():
            await receiver.until(1)
            await outbox.until("delivered")


async def test_what_is_under_way_when_it_is_stopped_comes_to_its_end_and_is_not_repeated(
    outbox: Outbox,
) -> None:
    async with hook(held=asyncio.Event()) as receiver:
        assert receiver.held is not None
        await add_hook(outbox.connection, receiver.url)
        for name in ("a", "b"):
            await raise_alert(outbox.connection, name)
        async with outbox.working():
            await receiver.until(1)
            asyncio.get_running_loop().call_later(0.05, receiver.held.set)
    assert await outbox.states() == [("delivered", 1), ("waiting", 0)]
    assert len(receiver.received) == 1


async def test_killed_between_sending_and_marking_it_is_sent_again_with_the_same_id_and_once_only(
    outbox: Outbox, database: Database, superuser: asyncpg.Connection, tmp_path: pathlib.Path
) -> None:
    """The process is killed when the receiver has said yes, while the mark waits for a row that we hold."""
    settings = {
        "ALATAU_DATABASE_URL": database.alerts_url,
        "ALATAU_DATA_DIR": str(tmp_path),
        "ALATAU_ALERTS_PORT": str(free_port()),
        "ALATAU_WEBHOOK_NETWORKS": "127.0.0.0/8",
    }
    holder = await connect(database.owner_url, application="test")
    async with hook() as receiver:
        await add_hook(outbox.connection, receiver.url)
        await order_test(outbox.connection, "hook")
        hold = holder.transaction()
        await hold.start()
        await holder.execute("SELECT FROM alatau.delivery FOR UPDATE")
        process = await asyncio.to_thread(lambda: start("alert", **settings))
        try:
            await receiver.until(1)
            async with asyncio.timeout(10):
                while not await superuser.fetchval(  # noqa: ASYNC110 - the database tells nobody
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'alatau-alert-delivery'"
                    " AND wait_event_type = 'Lock'"
                ):
                    await asyncio.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.wait)
            # As if the mark had not reached the database, which else goes on with it.
            await superuser.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1",
                "alatau-alert-delivery",
            )
            await hold.rollback()
            assert await outbox.states() == [("waiting", 0)]
            async with outbox.working():
                await outbox.until("delivered")
        finally:
            process.kill()
            await asyncio.to_thread(process.communicate)
            await holder.close()
    assert len(receiver.received) == 2
    assert len({one.id for one in receiver.received}) == 1
