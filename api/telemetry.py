"""What the API tells of itself: its Prometheus metrics."""

from __future__ import annotations

import enum
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from broker.drift import Deviation, Drift
from broker.refusals import Why


class ClaimOutcome(enum.StrEnum):
    """What became of a claim."""

    CLAIMED = "claimed"
    AGAIN = "again"  # the same as before
    TAKEN = "taken"  # of an id that is another's
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    REVOKED = "revoked"
    INVALID = "invalid"
    UNKNOWN = "unknown"  # of nobody who has an account of a batch
    DROPPED = "dropped"  # too many at once
    FAILED = "failed"  # a server was away


_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class ApiMetrics:
    """Counters and histograms of one application, in the registry given."""

    def __init__(self, registry: CollectorRegistry, in_use: Callable[[], int], pool_size: int) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "alatau_api_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "alatau_api_request_seconds",
            "From the request's head to the last byte of the answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        used = Gauge(
            "alatau_api_database_connections_used", "Connections that requests hold.", registry=registry
        )
        used.set_function(in_use)
        size = Gauge("alatau_api_database_connections_max", "Size of the pool.", registry=registry)
        size.set(pool_size)
        drift = Gauge(
            "alatau_api_account_drift",
            "Accounts of devices at the broker that deviated from the device table when last compared.",
            ["deviation"],
            registry=registry,
        )
        self._drift = {deviation: drift.labels(deviation.value) for deviation in Deviation}
        self._repaired = Counter(
            "alatau_api_accounts_repaired", "Accounts of devices mended at the broker.", registry=registry
        )
        self._open = Gauge(
            "alatau_api_connections", "Connections of clients that are open.", registry=registry
        )
        self._refused = Counter(
            "alatau_api_connections_refused", "Connections ended by a limit.", ["reason"], registry=registry
        )
        self._live = Gauge("alatau_api_live_clients", "Streams of events that are open.", registry=registry)
        self._dropped = Counter(
            "alatau_api_live_dropped", "Streams ended because their client was too slow.", registry=registry
        )
        self._sign_ins = Counter(
            "alatau_api_oidc_sign_ins", "Attempts to sign in elsewhere.", ["outcome"], registry=registry
        )
        dismissed = Counter(
            "alatau_api_broker_dismissals",
            "Connections that the broker did not let in, or ended.",
            ["reason"],
            registry=registry,
        )
        self._dismissed = {why: dismissed.labels(why.value) for why in Why}
        self._unheard = Counter(
            "alatau_api_broker_log_refusals",
            "Subscriptions to its log that the broker refused.",
            registry=registry,
        )
        claims = Counter(
            "alatau_api_claims", "Claims of devices, by what became of them.", ["outcome"], registry=registry
        )
        self._claims = {outcome: claims.labels(outcome.value) for outcome in ClaimOutcome}

    def count_connections(self, count: Callable[[], int]) -> None:
        """Ask ``count`` how many connections are open."""
        self._open.set_function(count)

    def refuse_connection(self, reason: str) -> None:
        """Count one connection that was ended by a limit."""
        self._refused.labels(reason).inc()

    def count_live_clients(self, count: Callable[[], int]) -> None:
        """Ask ``count`` how many streams are open."""
        self._live.set_function(count)

    def drop_live_client(self) -> None:
        """Count a stream whose client was too slow."""
        self._dropped.inc()

    def dismiss(self, why: Why) -> None:
        """Count one whom the broker sent away."""
        self._dismissed[why].inc()

    def miss_dismissals(self) -> None:
        """Count one refusal of the broker to let us hear whom it sends away."""
        self._unheard.inc()

    def count_sign_in(self, outcome: str) -> None:
        """Count one attempt to sign in elsewhere."""
        self._sign_ins.labels(outcome).inc()

    def note_claim(self, outcome: ClaimOutcome) -> None:
        """Count a claim."""
        self._claims[outcome].inc()

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request under its route's template: paths themselves are without bound."""
        self._requests.labels(method if method in _METHODS else "OTHER", route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def note_drift(self, drift: Drift, repaired: int) -> None:
        """Note what a comparison of the broker's accounts has found, and how much of it was mended."""
        for deviation, devices in drift.items():
            self._drift[deviation].set(len(devices))
        self._repaired.inc(repaired)
