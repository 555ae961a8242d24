"""``ingest --status``: what the status ports of the workers say, for a person."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import http.client
import math
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from prometheus_client.parser import text_string_to_metric_families
from rich.live import Live

from cli.console import answers
from cli.ingest_table import render
from cli.probes import address_of
from cli.settings import Settings
from stack.errors import StackError

_TIMEOUT = 3.0
_PREFIX = "alatau_ingest_"
_COUNTERS = {
    "received": "messages_received",
    "acknowledged": "messages_acknowledged",
    "stored": "readings_stored",
    "merged": "readings_merged",
    "duplicate": "readings_duplicate",
}
_HISTOGRAMS = {
    "cut_messages": "cut_messages",
    "commit_seconds": "commit_seconds",
    "lag_seconds": "lag_seconds",
}
Samples = dict[tuple[str, str], float]  # by name and the one label that we use


@dataclasses.dataclass(frozen=True, slots=True)
class Scrape:
    """What one worker said at one moment (``at`` in monotonic seconds)."""

    at: float
    ready: dict[str, Any]
    samples: Samples

    def value(self, name: str, label: str = "") -> float:
        """Return one sample; 0 where the worker has none."""
        return self.samples.get((f"{_PREFIX}{name}", label), 0.0)

    def labelled(self, name: str) -> dict[str, float]:
        """Return the samples of a name by their label."""
        return {label: value for (known, label), value in self.samples.items() if known == f"{_PREFIX}{name}"}


def place_of(settings: Settings, port: int) -> str:
    """Return the address at which a status port of ours is asked."""
    host = address_of(settings.ingest_host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def scrape(place: str) -> Scrape | None:
    """Ask one status port; None when no ingest answers there."""
    try:
        ready = orjson.loads(_get(f"{place}/readyz"))
        text = _get(f"{place}/metrics").decode()
    except (OSError, http.client.HTTPException, ValueError):
        return None
    # Something else may listen on that port.
    if f"\n{_PREFIX}messages_received_total " not in text:
        return None
    samples = {
        (sample.name, sample.labels.get("reason") or sample.labels.get("le") or ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return Scrape(time.monotonic(), ready, samples)


def _get(url: str) -> bytes:
    # Not by way of a proxy, which may not even know what 127.0.0.1 is here.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=_TIMEOUT) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.read()  # 503 is an answer, too


def find_workers(settings: Settings, workers: int | None) -> list[str]:
    """Return where to ask: as many ports as given, else every port from the first on that answers.

    Raises StackError when none does.
    """
    first = settings.ingest_port
    if workers is not None:
        places = [place_of(settings, port) for port in range(first, first + workers)]
        if any(each is not None for each in _scrape_all(places)):
            return places
    else:
        places = []
        while scrape(place_of(settings, first + len(places))) is not None:
            places.append(place_of(settings, first + len(places)))
        if places:
            return places
    raise StackError(
        f"No ingest answers at {place_of(settings, first)}.",
        "Start one with `alatau up` or `alatau ingest`. If it listens elsewhere, set ALATAU_INGEST_PORT and "
        "ALATAU_INGEST_HOST to its own, or source the `env` that `up` has written.",
    )


def _scrape_all(places: Sequence[str]) -> list[Scrape | None]:
    with concurrent.futures.ThreadPoolExecutor(len(places)) as threads:
        return list(threads.map(scrape, places))


def observe(places: Sequence[str], seconds: float = 1.0) -> dict[str, Any]:
    """Ask every worker twice, ``seconds`` apart, and return what came of it, as ``--json`` prints it."""
    before = _scrape_all(places)
    time.sleep(seconds)
    return summarise(places, before, _scrape_all(places))


def summarise(
    places: Sequence[str], before: Sequence[Scrape | None], after: Sequence[Scrape | None]
) -> dict[str, Any]:
    """Return each worker and all of them, from two scrapes of each; None is one that did not answer."""
    pairs = [(first or then, then) for first, then in zip(before, after, strict=True)]
    workers = [
        _describe([(first, then)], place) if first and then else {"place": place, "answers": False}
        for place, (first, then) in zip(places, pairs, strict=True)
    ]
    answered = [(first, then) for first, then in pairs if first and then]
    return {"workers": workers, "all": _describe(answered, "all") if answered else None}


def _describe(pairs: Sequence[tuple[Scrape, Scrape]], place: str) -> dict[str, Any]:
    """Return one column: the sum of these workers, rates in 1/s, times in s."""
    last = [then for _, then in pairs]
    about: dict[str, Any] = {"place": place, "answers": True}
    if len(pairs) == 1:
        about |= {key: last[0].ready.get(key) for key in ("worker", "ready", "status", "state")}
    for name, metric in _COUNTERS.items():
        about[name] = _counted(pairs, f"{metric}_total", "")
    reasons = {
        reason for each in last for reason, count in each.labelled("dead_letters_total").items() if count
    }
    letters = {reason: _counted(pairs, "dead_letters_total", reason) for reason in sorted(reasons)}
    about["dead_letters"] = {
        "total": sum(each["total"] for each in letters.values()),
        "rate": sum(each["rate"] for each in letters.values()),
        "by_reason": letters,
    }
    about["in_flight"] = int(sum(each.value("messages_in_flight") for each in last))
    for name, metric in _HISTOGRAMS.items():
        about[name] = _quantiles(pairs, metric)
    backlogs = [count for each in last if not math.isnan(count := each.value("broker_backlog_messages"))]
    about["broker"] = {
        "connected": all(each.value("broker_connected") for each in last),
        "backlog": int(max(backlogs)) if backlogs else None,  # the same broker says it to each
        "connections": int(sum(each.value("broker_connections_total") for each in last)),
        "sessions_lost": int(sum(each.value("broker_sessions_lost_total") for each in last)),
    }
    about["database"] = {
        "available": all(each.value("database_available") for each in last),
        "commit_retries": int(sum(each.value("commit_retries_total") for each in last)),
    }
    about["memory_bytes"] = int(
        sum(each.samples.get(("process_resident_memory_bytes", ""), 0) for each in last)
    )
    about["cpu"] = round(sum(_rate(pair, ("process_cpu_seconds_total", "")) for pair in pairs), 3)
    return about


def _rate(pair: tuple[Scrape, Scrape], key: tuple[str, str]) -> float:
    first, then = pair
    seconds = then.at - first.at
    # A worker that was started again in between counts from 0.
    rise = then.samples.get(key, 0.0) - first.samples.get(key, 0.0)
    return max(0.0, rise / seconds) if seconds > 0 else 0.0


def _counted(pairs: Sequence[tuple[Scrape, Scrape]], name: str, label: str) -> dict[str, Any]:
    rate = sum(_rate(pair, (f"{_PREFIX}{name}", label)) for pair in pairs)
    return {"total": int(sum(then.value(name, label) for _, then in pairs)), "rate": round(rate, 1)}


def _quantiles(pairs: Sequence[tuple[Scrape, Scrape]], metric: str) -> dict[str, float | None]:
    """Return p50 and p95 of what was observed between the scrapes; of everything, if nothing was."""
    now, before = (
        _buckets(each, metric) for each in zip(*[(then, first) for first, then in pairs], strict=True)
    )
    recent = {bound: max(0.0, count - before.get(bound, 0.0)) for bound, count in now.items()}
    chosen = recent if recent.get(math.inf) else now
    return {name: quantile(chosen, part) for name, part in (("p50", 0.5), ("p95", 0.95))}


def _buckets(scrapes: Sequence[Scrape], metric: str) -> dict[float, float]:
    buckets: dict[float, float] = {}
    for each in scrapes:
        for bound, count in each.labelled(f"{metric}_bucket").items():
            buckets[float(bound)] = buckets.get(float(bound), 0.0) + count
    return buckets


def quantile(buckets: dict[float, float], part: float) -> float | None:
    """Return a quantile as Prometheus does: linear within a bucket; ``buckets`` count up to their bounds."""
    wanted = buckets.get(math.inf, 0.0) * part
    if not wanted:
        return None
    low = below = 0.0
    for bound, count in sorted(buckets.items()):
        if count >= wanted:
            return low if math.isinf(bound) else low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low


def show_status(settings: Settings, workers: int | None, *, as_json: bool, watch: bool) -> None:
    """Print what the workers do, once or each second until interrupted. Raises StackError when none answers."""
    places = find_workers(settings, workers)
    if as_json:
        for observed in _observations(places, watch=watch):
            answers.print(orjson.dumps(observed).decode(), soft_wrap=True, markup=False)
    elif watch:
        with Live(console=answers, auto_refresh=False) as live:
            for observed in _observations(places, watch=True):
                live.update(render(observed), refresh=True)
    else:
        answers.print(render(observe(places)))


def _observations(places: Sequence[str], *, watch: bool) -> Iterator[dict[str, Any]]:
    yield observe(places)
    while watch:
        yield observe(places)
