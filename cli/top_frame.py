"""What ``top`` shows at one moment, as the API tells it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cli.api_client import ApiClient

# Rates and lags are of the last minute; whether a device sends what it should takes longer to tell.
RATES, HABITS = "-PT1M", "-PT15M"
_RATE_SECONDS = 60.0
_DEVICES_AT_ONCE = 1000
_WORST = 30
_ENOUGH = 0.9  # share of the expected readings
_LATE_SECONDS = 300.0
_SEVERITIES = ("critical", "warning", "info")


def read_title(api: ApiClient) -> str:
    """Return what the city is called. Raises ApiError."""
    title: str = api.get("districts")["city"]["title"]
    return title


def read_rates(api: ApiClient) -> dict[str, Any]:
    """Return what comes now, of each kind and of all. Raises ApiError."""
    kinds = [
        {
            "kind": one["group"]["kind"],
            "devices": one["devices"],
            "readings_per_second": round(one["received"] / _RATE_SECONDS, 3),
            "lag_seconds": one["lag_seconds"],
            "refused_per_minute": sum(one["dead_letters"].values()),
        }
        for one in api.get("quality", {"group_by": "kind", "start": RATES})["groups"]
    ]
    names = ("devices", "readings_per_second", "refused_per_minute")
    late = [one["lag_seconds"]["p95"] for one in kinds if one["lag_seconds"]["p95"] is not None]
    total = {name: sum(one[name] for one in kinds) for name in names}
    return {"all": {**total, "slowest_lag_p95_seconds": max(late, default=None)}, "kinds": kinds}


def read_habits(api: ApiClient) -> dict[str, Any]:
    """Return how much of what was expected came, by kind; how many devices are silent, and those that need somebody
    most, the worst first. Raises ApiError."""
    kinds = api.get("quality", {"group_by": "kind", "start": HABITS})["groups"]
    expected, silent, troubled = sum(one["expected"] for one in kinds), 0, []
    for one in _pages(api, "quality", {"group_by": "device", "start": HABITS}, "groups"):
        troubles = _troubles(one)
        silent += _is_silent(one)
        if troubles:
            troubled.append(
                {
                    "device": one["group"]["device"],
                    "badness": round(sum(badness for badness, _ in troubles), 3),
                    "troubles": [text for _, text in troubles],
                }
            )
    troubled.sort(key=lambda one: (-one["badness"], one["device"]))
    return {
        "completeness": _received(kinds) / expected if expected else None,
        "kinds": {one["group"]["kind"]: one["completeness"] for one in kinds},
        "silent": silent,
        "troubled": len(troubled),
        "worst": troubled[:_WORST],
    }


def _received(groups: Sequence[Mapping[str, Any]]) -> int:
    # One kind that sends more than it should makes up for no other.
    return sum(min(one["received"], one["expected"]) for one in groups)


def read_alerts(api: ApiClient) -> list[dict[str, Any]]:
    """Return the alerts that hold now, the gravest first, and of those the newest. Raises ApiError."""
    alerts = list(_pages(api, "alerts", {"state": "firing,acknowledged"}, "alerts"))
    alerts.sort(key=lambda one: one["since"], reverse=True)
    alerts.sort(key=lambda one: _SEVERITIES.index(one["severity"]))
    return alerts


def sentence(rates: Mapping[str, Any], habits: Mapping[str, Any], alerts: Sequence[object]) -> str:
    """Return the state of the city in a sentence."""
    refused = rates["all"]["refused_per_minute"]
    return ", ".join(
        [
            "no alert" if not alerts else "1 alert" if len(alerts) == 1 else f"{len(alerts):,} alerts",
            f"{habits['silent']:,} of {rates['all']['devices']:,} devices silent",
            "nothing refused" if not refused else f"{refused:,} refused in the last minute",
        ]
    )


def _pages(api: ApiClient, path: str, parameters: Mapping[str, Any], member: str) -> Iterator[dict[str, Any]]:
    cursor: dict[str, Any] = {}
    while True:
        answer = api.get(path, {**parameters, "limit": _DEVICES_AT_ONCE, **cursor})
        yield from answer[member]
        if answer["next"] is None:
            return
        cursor = {"cursor": answer["next"]}


def _is_silent(one: Mapping[str, Any]) -> bool:
    return bool(one["received"] == 0 and one["expected"] > 0)


def _troubles(one: Mapping[str, Any]) -> list[tuple[float, str]]:
    """Return what is wrong with a device, each with how bad that is, from 0 to 1."""
    found = []
    refused = sum(one["dead_letters"].values())
    if _is_silent(one):
        age = one["last_age_seconds"]
        found.append((1.0, "has never sent anything" if age is None else f"silent for {span(age)}"))
    elif one["completeness"] is not None and one["completeness"] < _ENOUGH:
        share = one["completeness"]
        found.append((1 - share, f"{share:.0%} of its readings"))
    if refused:
        reasons = ", ".join(sorted(one["dead_letters"]))
        found.append((refused / (refused + one["received"]), f"{refused:,} refused: {reasons}"))
    if one["frozen"]:
        frozen = one["frozen"][0]
        found.append((0.3, f"{frozen['metric']} stands still at {frozen['value']:g}"))
    if (late := one["lag_seconds"]["p50"]) is not None and late > _LATE_SECONDS:
        found.append((0.2, f"mostly late by {span(late)}"))
    if one["clock_ahead"]["share"]:
        found.append(
            (
                one["clock_ahead"]["share"] / 2,
                f"clock {span(one['clock_ahead']['median_seconds'] or 0)} ahead",
            )
        )
    if missing := one["missing_numbers"]["open"]:
        found.append((0.1, f"{missing:,} numbers missing"))
    return found


def span(seconds: float) -> str:
    """Return a time that has passed, for people."""
    for most, unit, written in ((60, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < most:
            return f"{seconds / unit:.0f} {written}"
    return f"{seconds / 86_400:.0f} days"


def age_of(moment: str, now: dt.datetime) -> float:
    """Return how many seconds ago a time of the API was."""
    return max(0.0, (now - dt.datetime.fromisoformat(moment)).total_seconds())
