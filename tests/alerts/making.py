"""Findings and alerts of the tests' own making."""

from __future__ import annotations

import dataclasses
import itertools
import zoneinfo
from collections.abc import Sequence
from typing import Any

import asyncpg

from alerts import phrases
from alerts.finding import Finding
from alerts.phrases import phrase
from alerts.speech import Speech
from alerts.states import plan
from sensors.kinds import Metric
from sensors.messages import AlertMessage, Argument, Phrase
from sensors.times import SECOND, to_microseconds
from storage.alert_states import ActiveAlert, load_active, store_states
from storage.alerts import AlertState
from tests.alerts.told import MINUTE as MINUTE
from tests.alerts.told import NOON as NOON
from tests.alerts.told import PM

ZONE = zoneinfo.ZoneInfo("Asia/Almaty")


def worded(title: Phrase, *sentence: Phrase) -> dict[str, Any]:
    """Return the members of a finding that says so."""
    english = Speech(NOON, ZONE)
    message: AlertMessage = {"title": title, "sentence": [*sentence]}
    return {"title": english.say(title), "sentence": english.say(*sentence), "message": message}


def _pattern(device: str, kind: str, metric: Metric) -> dict[str, Any]:
    of: dict[str, Argument] = {"metric": phrases.metric(metric), "device": phrases.device(device)}
    since = phrases.time(NOON - 40 * MINUTE)
    return worded(
        phrase("title.unusual", metric=of["metric"], where=of["device"]),
        phrase("text.departure", value=phrases.quantity(163.2, metric), since=since, **of),
        phrase("text.usual", low=phrases.bare(3.0, metric), high=phrases.quantity(41.0, metric)),
        phrase("text.usual_neighbours", n=phrases.count(3), kind=phrases.kind(kind)),
        phrase("text.also", metrics=phrases.metrics(["pm10"])),
    )


PATTERN = Finding(
    fingerprint="hot:air-1",
    rule=None,
    kind_of_rule="anomaly",
    severity="warning",
    device="air-1",
    kind="air_quality",
    district="gate",
    metric="pm2_5",
    value=163.2,
    low=3.0,
    high=41.0,
    since=NOON - 40 * MINUTE,
    **_pattern("air-1", "air_quality", PM),
)


def of_device(device: str, kind: str, district: str, metric: str) -> Finding:
    """Return something that is wrong with a device."""
    return dataclasses.replace(
        PATTERN,
        fingerprint=f"hot:{device}",
        device=device,
        kind=kind,
        district=district,
        metric=metric,
        **_pattern(device, kind, Metric(metric, metric, "1", 0, 1000, 0.1)),
    )


async def passed(connection: asyncpg.Connection, findings: Sequence[Finding], now: int = NOON) -> None:
    """Do what a pass does with findings."""
    async with connection.transaction():
        made = plan(await load_active(connection, now, lock=True), findings, now, ZONE)
        await store_states(connection, made.new, made.changes, now)


class Kept:
    """Alerts as the database would keep them, in memory; ``steps`` are (fingerprint, state)."""

    def __init__(self) -> None:
        self.active: dict[str, ActiveAlert] = {}
        self.ended: dict[str, list[int]] = {}
        self.steps: list[tuple[str, AlertState]] = []
        self._numbers = itertools.count(1)

    def step(self, findings: Sequence[Finding], now: int) -> None:
        """Do what a pass does."""
        made = plan(self.active.values(), findings, now, ZONE)
        by_id = {alert.id: alert for alert in self.active.values()}
        for change in made.changes:
            alert = by_id[change.id]
            if change.step is not None:
                self.steps.append((alert.fingerprint, change.state))
            gone_since = None if change.gone_since is None else to_microseconds(change.gone_since)
            changes: dict[str, object] = {"state": change.state, "gone_since": gone_since}
            if change.content is not None:
                content = change.content
                since, severity = to_microseconds(content.since), content.severity
                changes |= {
                    "since": since,
                    "severity": severity,
                    "sentence": content.sentence,
                    "said_at": now,
                }
            self.active[alert.fingerprint] = dataclasses.replace(alert, **changes)  # type: ignore[arg-type]
            if change.state is AlertState.RESOLVED:
                del self.active[alert.fingerprint]
                if alert.state is not AlertState.PENDING:
                    self.ended.setdefault(alert.fingerprint, []).append(now)
        for new in made.new:
            assert new.fingerprint not in self.active
            self.steps.append((new.fingerprint, new.state))
            self.active[new.fingerprint] = ActiveAlert(
                id=next(self._numbers),
                fingerprint=new.fingerprint,
                rule=None,
                kind_of_rule=new.kind_of_rule,
                severity=new.content.severity,
                state=new.state,
                sentence=new.content.sentence,
                message=new.content.message,
                value=new.content.value,
                since=to_microseconds(new.content.since),
                said_at=now,
                gone_since=None,
                clear=round(new.content.clear_seconds * SECOND),
                ended=len(self.ended.get(new.fingerprint, [])),
            )

    def acknowledge(self, fingerprint: str) -> None:
        """Do what the API does."""
        alert = self.active[fingerprint]
        if alert.state is AlertState.FIRING:
            self.active[fingerprint] = dataclasses.replace(alert, state=AlertState.ACKNOWLEDGED)
            self.steps.append((fingerprint, AlertState.ACKNOWLEDGED))
