"""A change in what arrives as a finding."""

from __future__ import annotations

from alerts.finding import Finding
from alerts.quality_changes import Change
from alerts.quality_sentences import sentence_of, title_of
from alerts.speech import Speech
from sensors.times import SECOND, format_timestamp

_CLEAR = 1800 * SECOND


def fingerprint_of_change(change: Change) -> str:
    """Return what makes two changes the same thing at two times: a device's, whatever it is that has changed."""
    if change.device:
        return f"quality/device/{change.device}"
    return f"quality/{change.pattern}/{change.district or 'city'}/{change.kind or 'all'}"


def finding_of_change(change: Change, fingerprint: str, english: Speech, times: int) -> Finding:
    """Return a change with its explanation; ``times`` is how often it was so within 30 days before."""
    title, sentence = title_of(change), sentence_of(change, times)
    neighbours = {"count": change.neighbours, "unusual": change.unusual} if change.neighbours else None
    evidence: dict[str, object] = {
        "pattern": change.pattern,
        "share": round(change.share, 3),
        "usual": round(change.usual, 3),
        "neighbours": neighbours,
        "times_in_30_days": times,
    }
    if change.device is not None:
        evidence["received"] = change.received
        evidence["hours"] = list(change.hours)
        evidence["hours_start"] = format_timestamp(change.hours_start)
    if change.expected:
        evidence["expected"] = change.expected
    if change.refused:
        evidence["refused"] = change.refused
        evidence["reasons"] = dict(change.reasons)
    return Finding(
        fingerprint=fingerprint,
        rule=None,
        kind_of_rule="quality",
        severity="warning",
        title=english.say(title),
        sentence=english.say(*sentence),
        message={"title": title, "sentence": sentence},
        device=change.device,
        kind=change.kind,
        district=change.district,
        metric=None,
        value=None,
        low=None,
        high=None,
        since=change.since,
        evidence=evidence,
        clear=_CLEAR,
    )
