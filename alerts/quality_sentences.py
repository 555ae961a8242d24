"""A change in what arrives, in words: how much now, since when, how much before, and who else."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping

from alerts.quality_changes import Change
from alerts.words import clock

_TITLES = {"completeness": "Fewer readings arrive", "refused": "Readings are refused"}


def title_of(change: Change, places: Mapping[str, str]) -> str:
    """Return a few words; ``places`` are titles of districts by name."""
    return f"{_TITLES[change.pattern]}: {change.device or _place(change, places)}"


def sentence_of(
    change: Change, now: int, zone: zoneinfo.ZoneInfo, places: Mapping[str, str], times: int
) -> str:
    """Return the whole explanation; ``times`` is how often it was so within 30 days before."""
    parts = [_what(change, clock(change.since, now, zone), places), _others(change)]
    if times:
        parts.append(f"It was so {times} {'time' if times == 1 else 'times'} in the 30 days before.")
    return " ".join(part for part in parts if part)


def _what(change: Change, since: str, places: Mapping[str, str]) -> str:
    share, usual = percent(change.share), percent(change.usual)
    if change.device is None:
        devices = f"{change.kind} devices" if change.kind else "devices"
        who = f"{change.unusual} of {change.neighbours} {devices} of {_place(change, places)}"
        if change.pattern == "refused":
            return f"Of what {who} send {share} is refused since {since}, {usual} in the weeks before."
        return f"{who} deliver {share} of their expected readings since {since}, {usual} in the weeks before."
    if change.pattern == "refused":
        mostly = f", mostly as {next(iter(change.reasons))}" if change.reasons else ""
        return f"Of what {change.device} sends {share} is refused since {since}{mostly}; {usual} in the weeks before."
    return f"{change.device} delivers {share} of its expected readings since {since}, {usual} in the weeks before."


def _others(change: Change) -> str:
    if change.device is None:
        if change.pattern == "refused":
            return "One cause is likely: new firmware, or their clocks."
        return "One cause is likely: the network, or the way to us."
    if not change.neighbours:
        return "There are no neighbours of its kind to compare it with."
    devices = f"{change.neighbours} other {change.kind} devices"
    if not change.unusual:
        return f"None of {devices} shows the like, so it is likely its own fault."
    return f"{change.unusual} of {devices} {'does' if change.unusual == 1 else 'do'} too."


def percent(share: float) -> str:
    """Return a share as people say it."""
    return f"{100 * share:.0f} %"


def _place(change: Change, places: Mapping[str, str]) -> str:
    if change.district is None:
        return "the whole city"
    return places.get(change.district, change.district)
