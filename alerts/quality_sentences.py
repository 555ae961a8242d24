"""A change in what arrives, in words: how much now, since when, how much before, and who else."""

from __future__ import annotations

from alerts import phrases
from alerts.phrases import phrase
from alerts.quality_changes import Change
from sensors.messages import Argument, Phrase


def title_of(change: Change) -> Phrase:
    """Return a few words."""
    where = phrases.device(change.device) if change.device else phrases.district(change.district)
    return phrase(f"title.{change.pattern}", where=where)


def sentence_of(change: Change, times: int) -> list[Phrase]:
    """Return the whole explanation; ``times`` is how often it was so within 30 days before."""
    said = [_what(change)]
    if change.device and change.pattern == "refused" and change.reasons:
        said.append(phrase("text.mostly", reason=phrases.reason(next(iter(change.reasons)))))
    said.append(_others(change))
    if times:
        said.append(phrase("text.times", n=phrases.count(times)))
    return said


def _what(change: Change) -> Phrase:
    how: dict[str, Argument] = {
        "share": phrases.share(change.share),
        "usual": phrases.share(change.usual),
        "since": phrases.time(change.since),
    }
    if change.device is not None:
        return phrase(f"text.{change.pattern}", device=phrases.device(change.device), **how)
    how |= {
        "n": phrases.count(change.unusual),
        "all": phrases.count(change.neighbours),
        "place": phrases.district(change.district),
    }
    if change.kind is None:
        return phrase(f"text.{change.pattern}_many", **how)
    return phrase(f"text.{change.pattern}_kind", kind=phrases.kind(change.kind), **how)


def _others(change: Change) -> Phrase:
    count, unusual, kind = change.neighbours, change.unusual, phrases.kind(change.kind or "")
    if change.device is None:
        return phrase(f"text.cause_{change.pattern}")
    if not count:
        return phrase("text.no_neighbours")
    if not unusual:
        return phrase("text.usual_neighbours", n=phrases.count(count), kind=kind)
    return phrase("text.unusual_neighbours", n=phrases.count(unusual), all=phrases.count(count), kind=kind)
