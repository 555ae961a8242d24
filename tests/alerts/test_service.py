"""The process: pass after pass on a real database, whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import os
import pathlib
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from typing import Any

import asyncpg
import httpx2
import pytest
from structlog.testing import capture_logs

from alerts.finding import Finding
from alerts.options import AlertOptions
from alerts.service import Alerts
from cli.alert import status_of
from cli.status import status_app
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.rules import Rule, RuleKind
from sensors.times import DAY, from_microseconds
from stack.ports import free_port
from storage.alert_rules import Origin, delete_rule, put_rule, windows_under_way
from storage.alert_states import forget_alerts
from storage.alerts import (
    ALERTS_CHANNEL,
    AlertFilter,
    AlertState,
    acknowledge,
    list_alert_events,
    list_alerts,
)
from storage.database import connect
from storage.kinds import Connection
from tests.alerts.making import MINUTE, NOON, PATTERN
from tests.api.answers import NOW
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

PROJECT = pathlib.Path(__file__).parents[2]
DEVICES = tuple(DeviceSpec(f"air-{n}", "air_quality", "gate") for n in range(1, 4))
_LATE = r"not done within 0\.5 s, noticed \d+\.\d s later; its connection was dropped"
_SHARED = ("watching", "waiting: another process has the turn")
HIGH = Rule("high", RuleKind.THRESHOLD, {"metric": "pm2_5", "above": 150, "lasting": "PT5M"})


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, DEVICES) as city:
        yield city


@pytest.fixture
async def clean(city: City) -> AsyncIterator[City]:
    """The city without rules and alerts."""
    yield city
    await city.owner.execute(
        "TRUNCATE alatau.alert, alatau.alert_event, alatau.alert_rule, alatau.latest CASCADE"
    )


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now


class Searched:
    """A search without rules that finds what the test says."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.error: Exception | None = None

    async def __call__(self, connection: Connection, now: int) -> list[Finding]:
        if self.error is not None:
            raise self.error
        return self.findings


@contextlib.asynccontextmanager
async def reading(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(url, application="test")
    try:
        yield connection
    finally:
        await connection.close()


async def states(city: City) -> list[tuple[str | None, AlertState]]:
    return [(one.device, one.state) for one in await list_alerts(city.owner, AlertFilter())]


def quick(url: str) -> AlertOptions:
    return AlertOptions(url, every_seconds=0.02, retry_seconds=0.02)


@contextlib.asynccontextmanager
async def running(service: Alerts) -> AsyncIterator[httpx2.AsyncClient]:
    """Run a service, and lend a client of its status."""
    stop = asyncio.Event()
    task = asyncio.create_task(service.run(stop), name="test.alerts")
    transport = httpx2.ASGITransport(app=status_app(status_of(service)))
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://alerts") as client:
            yield client
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not is_so():  # noqa: ASYNC110 - a question, not an event
            await asyncio.sleep(0.01)


async def test_an_alert_goes_its_way_with_its_history(clean: City) -> None:
    clock = Clock()
    service = Alerts(quick(""), clock=clock)
    await put_rule(clean.owner, HIGH, Origin.API)
    await clean.write("air_quality", [("air-1", NOW, {"pm2_5": 163.2}), ("air-2", NOW, {"pm2_5": 1.0})])
    heard: list[object] = []

    def hear(*told: object) -> None:
        heard.append(told[3])

    await clean.owner.add_listener(ALERTS_CHANNEL, hear)
    async with reading(clean.database.alerts_url) as connection:
        await service.once(connection)
        assert await states(clean) == [("air-1", AlertState.PENDING)]
        clock.now += 5 * MINUTE
        await service.once(connection)
        (alert,) = await list_alerts(clean.owner, AlertFilter())
        assert (alert.rule, alert.state, alert.evidence) == (
            "high",
            AlertState.FIRING,
            {"times_in_30_days": 0},
        )
        assert alert.since == NOW
        assert await acknowledge(clean.api, alert.id, "anna", "a crew is on its way", NOW)
        assert not await acknowledge(clean.api, alert.id, "boris", "", NOW)
        await service.once(connection)
        assert await states(clean) == [("air-1", AlertState.ACKNOWLEDGED)]
        await delete_rule(clean.owner, "high")
        await service.once(connection)
        events = await list_alert_events(clean.owner, alert.id)
    assert [(event.state.value, event.by) for event in events] == [
        ("pending", None),
        ("firing", None),
        ("acknowledged", "anna"),
        ("resolved", None),
    ]
    assert events[-1].sentence.startswith("It is over since 17:05. It was: PM2.5 of air-1 is 163.2 µg/m³")
    assert alert.message == events[0].message == events[2].message
    assert [event.message and [one["key"] for one in event.message["sentence"]] for event in events] == [
        *[["alert.text.above"]] * 3,
        ["alert.text.over", "alert.text.above"],
    ]
    await clean.owner.remove_listener(ALERTS_CHANNEL, hear)
    assert set(heard) == {""}


async def test_another_severity_is_a_step_of_its_history_and_another_sentence_is_not_even_a_change(
    clean: City,
) -> None:
    searched, clock = Searched(), Clock()
    service = Alerts(quick(""), finds={"anomaly": searched}, clock=clock)
    graver = dataclasses.replace(PATTERN, severity="critical")
    async with reading(clean.database.alerts_url) as connection:
        for found in (PATTERN, graver, dataclasses.replace(graver, sentence="It is still so.")):
            searched.findings = [found]
            await service.once(connection)
            clock.now += 6 * MINUTE
    (alert,) = await list_alerts(clean.owner, AlertFilter())
    assert (alert.severity, alert.sentence) == ("critical", "It is still so.")
    assert alert.changed_at == NOW + dt.timedelta(minutes=6)
    events = await list_alert_events(clean.owner, alert.id)
    assert [(one.state, one.severity) for one in events] == [("firing", "warning"), ("firing", "critical")]


async def test_what_a_search_finds_is_kept_and_what_fails_ends_nothing(clean: City) -> None:
    searched = Searched()
    service = Alerts(quick(""), finds={"anomaly": searched}, clock=Clock())
    searched.findings = [PATTERN]
    async with reading(clean.database.alerts_url) as connection:
        await service.once(connection)
        searched.error = asyncpg.UndefinedColumnError("no such column")
        await service.once(connection)
        assert await states(clean) == [("air-1", AlertState.FIRING)]
        assert not service.readiness().is_ready
        assert "can't evaluate anomaly" in service.readiness().sentence
        searched.error, searched.findings = None, []
        await service.once(connection)
    assert await states(clean) == [("air-1", AlertState.RESOLVED)]
    assert service.readiness() == (True, "watching")


async def test_what_a_rule_tells_of_the_search_leaves_out_unless_it_was_first(clean: City) -> None:
    silent = dataclasses.replace(
        PATTERN, fingerprint="anomaly/silence/air-1", metric=None, evidence={"pattern": "silence"}
    )
    searched = Searched()
    searched.findings = [silent]
    service = Alerts(quick(""), finds={"anomaly": searched}, clock=Clock())
    await put_rule(clean.owner, Rule("silent", RuleKind.SILENCE, {}), Origin.API)
    await clean.write("air_quality", [("air-1", NOW - dt.timedelta(hours=2), {"pm2_5": 1.0})])

    async def kinds() -> list[str]:
        await service.once(connection)
        return sorted(one.kind_of_rule for one in await list_alerts(clean.owner, AlertFilter()))

    async with reading(clean.database.alerts_url) as connection:
        assert await kinds() == ["silence"]
        await delete_rule(clean.owner, "silent")
        assert await kinds() == ["anomaly", "silence"], "of a rule that is gone it is the search's again"
        await put_rule(clean.owner, Rule("again", RuleKind.SILENCE, {}), Origin.API)
        assert await kinds() == ["anomaly", "silence", "silence"]
        firing = [
            a.kind_of_rule for a in await list_alerts(clean.owner, AlertFilter()) if a.resolved_at is None
        ]
        assert sorted(firing) == ["anomaly", "silence"]


async def test_it_counts_how_often_it_was_so(clean: City) -> None:
    searched, clock = Searched(), Clock()
    service = Alerts(quick(""), finds={"anomaly": searched}, clock=clock)
    async with reading(clean.database.alerts_url) as connection:
        for findings in ([PATTERN], [], [PATTERN]):
            searched.findings = findings
            clock.now += 240 * MINUTE
            await service.once(connection)
    newest, first = await list_alerts(clean.owner, AlertFilter())
    assert (first.evidence["times_in_30_days"], newest.evidence["times_in_30_days"]) == (0, 1)


async def test_what_is_long_over_is_forgotten_and_what_never_counted_after_a_day(clean: City) -> None:
    searched, clock = Searched(), Clock()
    service = Alerts(quick(""), finds={"anomaly": searched}, clock=clock)
    brief = dataclasses.replace(PATTERN, fingerprint="brief", device="air-2", since=NOON, hold=60 * MINUTE)
    async with reading(clean.database.alerts_url) as connection:
        for findings in ([PATTERN, brief], []):
            searched.findings = findings
            await service.once(connection)
        for days, left in ((0.9, 2), (1.1, 1), (399, 1), (401, 0)):
            now = NOON + round(days * DAY)
            await forget_alerts(connection, now, keep=service.options.keep)
            assert len(await states(clean)) == left, days


async def test_one_of_two_works_and_the_other_takes_its_place(clean: City) -> None:
    url = clean.database.alerts_url
    first, second = Alerts(quick(url)), Alerts(quick(url))
    async with running(second):
        async with running(first):
            await until(lambda: {first.readiness().sentence, second.readiness().sentence} == {*_SHARED})
            assert first.readiness().is_ready
            assert second.readiness().is_ready
        await until(lambda: second.readiness().sentence == "watching")


async def test_its_status_says_how_it_fares(clean: City) -> None:
    async with running(Alerts(quick(clean.database.alerts_url))) as client:
        async with asyncio.timeout(15):
            # The one of the test before may have the turn for a moment.
            while (await client.get("/readyz")).json() != {"ready": True, "state": "watching"}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        # Not before a pass has come to its end, with what it does once an hour.
        metrics = ""
        async with asyncio.timeout(15):
            while "alatau_alerts_pass_seconds_count 2.0" not in metrics:
                metrics = (await client.get("/metrics")).text
                await asyncio.sleep(0.01)
        assert 'alatau_alerts_active{severity="warning",state="firing"} 0.0' in metrics
        assert "alatau_alerts_failures_total{" not in metrics
    rules = await clean.owner.fetchval("SELECT count(*) FROM alatau.alert_rule WHERE origin = 'builtin'")
    assert rules == 12


async def test_a_database_that_is_away_is_said_and_waited_for() -> None:
    service = Alerts(quick(f"postgresql://u:secret@127.0.0.1:{free_port()}/x"))
    async with running(service) as client:
        await until(lambda: "away" in service.readiness().sentence)
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "secret" not in answer.text


async def test_the_log_says_what_ended_a_pass_and_where(clean: City) -> None:
    async def hang(connection: Connection, now: int) -> list[Finding]:
        await connection.execute("SELECT pg_sleep(60)")
        return []

    options = dataclasses.replace(quick(clean.database.alerts_url), within_seconds=0.5)

    def is_told(logs: Sequence[MutableMapping[str, Any]]) -> bool:
        # Where the machine is slow, it may be elsewhere first.
        failed = [log for log in logs if log["event"] == "a part failed; starting it again"]
        assert all(re.fullmatch(_LATE, log["error"]) for log in failed), failed
        # More than once: what was dropped keeps the turn from nobody.
        return [log["at"] for log in failed].count("alerts.service.Alerts._find") > 1

    with capture_logs() as logs:
        async with running(Alerts(options, finds={"anomaly": hang})):
            await until(lambda: is_told(logs))


async def test_the_role_reads_no_secrets_and_writes_no_readings(city: City) -> None:
    async with reading(city.database.alerts_url) as connection:
        for refused in (
            "SELECT * FROM alatau.api_key",
            "SELECT * FROM alatau.user_account",
            "SELECT * FROM alatau.user_session",
            "SELECT * FROM alatau.device_credential",
            "SELECT * FROM alatau.audit",
            "INSERT INTO alatau.latest SELECT * FROM alatau.latest",
            "DELETE FROM reading.air_quality",
            "DELETE FROM alatau.alert_event",
            "UPDATE alatau.alert_event SET sentence = ''",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(refused)


async def start(city: City, port: int) -> asyncio.subprocess.Process:
    """Start ``alatau alert`` as an operator does."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "alert"),
        cwd=PROJECT,
        env={**os.environ, "ALATAU_DATABASE_URL": city.database.alerts_url, "ALATAU_ALERTS_PORT": str(port)},
    )


async def kill(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def test_killed_in_mid_transaction_it_loses_no_alert_and_repeats_none(clean: City) -> None:
    values = {"air-1": 163.2, "air-2": 151.0, "air-3": 1.0}
    now = dt.datetime.now(dt.UTC)
    await clean.write("air_quality", [(name, now, {"pm2_5": value}) for name, value in values.items()])
    await put_rule(
        clean.owner, Rule("high", RuleKind.THRESHOLD, {"metric": "pm2_5", "above": 150}), Origin.API
    )
    port = free_port()
    async with clean.owner.transaction():
        await clean.owner.execute("LOCK TABLE alatau.alert_event IN EXCLUSIVE MODE")
        killed = await start(clean, port)
        async with asyncio.timeout(30):
            while not await clean.owner.fetchval(  # noqa: ASYNC110 - the database tells nobody
                "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'alatau.alert_event'::regclass)"
            ):
                await asyncio.sleep(0.02)
        await kill(killed)
    assert await states(clean) == []
    again = await start(clean, port)
    async with asyncio.timeout(30):
        while len(await states(clean)) < 2:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)
    await kill(again)
    fired = [("air-2", AlertState.FIRING), ("air-1", AlertState.FIRING)]
    assert sorted(await states(clean)) == sorted(fired)
    # Meanwhile one is over, and another has begun.
    later = now + dt.timedelta(seconds=1)
    await clean.write("air_quality", [("air-1", later, {"pm2_5": 1.0}), ("air-3", later, {"pm2_5": 200.0})])
    async with reading(clean.database.alerts_url) as connection:
        for _ in range(2):
            await Alerts(quick("")).once(connection)
    rows = await clean.owner.fetch(
        """
        SELECT d.id, e.state FROM alatau.alert_event e JOIN alatau.alert a ON a.id = e.alert_id
        JOIN alatau.device d USING (device_id) ORDER BY d.id, e.id
        """
    )
    assert [tuple(row) for row in rows] == [
        ("air-1", "firing"),
        ("air-1", "resolved"),
        ("air-2", "firing"),
        ("air-3", "firing"),
    ]


async def test_every_window_under_way_counts_however_many_there_are(clean: City) -> None:
    now = from_microseconds(NOON)
    await clean.owner.execute(
        """
        INSERT INTO alatau.maintenance_window (starts, ends, district, reason, created_by)
        SELECT $1::timestamptz + n * interval '1 hour', $1::timestamptz + n * interval '2 hours', 'gate', 'x', 'test'
        FROM generate_series(1, 1001) AS n
        """,
        now,
    )
    try:
        await clean.owner.execute(
            """
            INSERT INTO alatau.maintenance_window (starts, ends, district, reason, created_by)
            VALUES ($1, $1::timestamptz + interval '1 hour', 'gate', 'now', 'test')
            """,
            now,
        )
        assert [window.reason for window in await windows_under_way(clean.owner, now)] == ["now"]
    finally:
        await clean.owner.execute("TRUNCATE alatau.maintenance_window")
