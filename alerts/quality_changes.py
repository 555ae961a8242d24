"""From charts of what arrives to the few things that are worth saying: of a device, or of all that changed together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from alerts.anomaly_findings import MOST, Names, crowds
from alerts.arrivals import LIMIT, Arrivals, Chart, Reals
from alerts.memory import Bools
from alerts.neighbours import FEWEST, Ints

# Of the limit, at which a device takes part in what another one shows.
_SUSPECT = LIMIT / 3
_RARELY = 0.001


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A share that has changed at ``since`` (Unix µs): of expected readings that come, or of messages that are refused.

    ``share`` is since then and ``usual`` before, of many devices in the middle. ``neighbours`` could be compared, and
    ``unusual`` of them changed as well; of many devices they count those that take part. ``hours`` are which shares of
    a device's expected readings came in each hour, the newest last; ``hours_start`` is when the first begins.
    """

    pattern: str  # "completeness" or "refused"
    since: int
    share: float
    usual: float
    kind: str | None
    district: str | None
    device: str | None = None
    neighbours: int = 0
    unusual: int = 0
    expected: int = 0
    received: int = 0
    refused: int = 0
    hours: tuple[float, ...] = ()
    hours_start: int = 0
    reasons: Mapping[str, int] = dataclasses.field(default_factory=dict)


def excused(arrivals: Arrivals, waited: Ints) -> Bools:
    """Return of which devices (d,) that sent nothing for a time (µs) silence is not what is wrong: their messages are
    refused, or so many of them are lost that one in a thousand of such times is as long."""
    lost = np.clip(arrivals.losses.share(), 0.1, 0.99)
    patience = arrivals.interval * np.log(_RARELY) / np.log(lost)
    suspect = arrivals.losses.is_on | (arrivals.losses.sum >= _SUSPECT)
    is_lossy: Bools = suspect & (waited < patience)
    return is_lossy | arrivals.refusals.is_on


def changes(arrivals: Arrivals, names: Names, silent: Bools) -> list[Change]:
    """Return all that has changed; what is refused is not missing as well, and who is ``silent`` (d,) is not lossy."""
    refusals, losses = arrivals.refusals, arrivals.losses
    is_refused = refusals.is_on | (refusals.sum >= _SUSPECT)
    is_lost = ~silent & ~is_refused
    return [
        *_of(arrivals, names, "refused", refusals, refusals.share(), arrivals.refused, is_refused | ~silent),
        *_of(arrivals, names, "completeness", losses, 1 - losses.share(), arrivals.usual.share, is_lost),
    ]


def _of(
    arrivals: Arrivals, names: Names, pattern: str, chart: Chart, share: Reals, usual: Reals, eligible: Bools
) -> list[Change]:
    known = ~np.isnan(arrivals.usual.share) & eligible
    left = chart.is_on & known
    if not left.any():
        return []
    suspect = known & (left | (chart.sum >= _SUSPECT))
    result = []
    for places in crowds(names):
        there = places[known[places]]
        gone = there[suspect[there]]
        if not left[gone].any() or len(there) < FEWEST or len(gone) < MOST * len(there):
            continue
        kinds = {names.kind[device].name for device in places.tolist()}
        districts = {names.district[device] for device in places.tolist()}
        result.append(
            Change(
                pattern=pattern,
                since=int(np.median(chart.since[gone])),
                share=float(np.median(share[gone])),
                usual=float(np.median(usual[gone])),
                kind=kinds.pop() if len(kinds) == 1 else None,
                district=districts.pop() if len(districts) == 1 else None,
                neighbours=len(there),
                unusual=len(gone),
            )
        )
        left[gone] = False
    alike = np.array([f"{k.name} {d}" for k, d in zip(names.kind, names.district, strict=True)])
    for device in np.flatnonzero(left).tolist():
        others = np.flatnonzero((alike == alike[device]) & known)
        others = others[others != device]
        result.append(_of_device(arrivals, names, pattern, chart, device, others, share, usual))
    return result


def _of_device(
    arrivals: Arrivals,
    names: Names,
    pattern: str,
    chart: Chart,
    device: int,
    others: Ints,
    share: Reals,
    usual: Reals,
) -> Change:
    trials, lost = float(chart.trials[device]), float(chart.lost[device])
    is_refused = pattern == "refused"
    return Change(
        pattern=pattern,
        since=int(chart.since[device]),
        share=float(share[device]),
        usual=float(usual[device]),
        kind=names.kind[device].name,
        district=names.district[device],
        device=names.device[device],
        neighbours=len(others),
        unusual=int(chart.is_on[others].sum()),
        expected=0 if is_refused else round(trials),
        received=round(trials - lost),
        refused=round(lost) if is_refused else 0,
        hours=tuple(arrivals.shares(device)),
        hours_start=arrivals.first_hour,
    )
