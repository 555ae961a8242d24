"""What ingest can be told; the environment is read by the command line, not here."""

from __future__ import annotations

import dataclasses

from ingest.alarm import AlarmPolicy
from ingest.decoders.parsed import Format
from ingest.feedback import DOCS
from ingest.letters import LetterPolicy
from ingest.limits import RatePolicy
from ingest.posts import PostPolicy
from ingest.session import SessionOptions
from sensors.checks import TimeWindow
from sensors.topics import Topics

SHARE = "alatau-ingest"


@dataclasses.dataclass(frozen=True, slots=True)
class IngestOptions:
    """Frozen policy of one worker."""

    database_url: str
    session: SessionOptions
    topics: Topics = dataclasses.field(default_factory=Topics)
    # The workers of one share divide the load among them; None for one alone. Mosquitto 2.0 forgets shared
    # subscriptions when it restarts, and drops what comes until the workers are back; others it keeps.
    share: str | None = None
    # Of other firmware, beside the native one. One worker of a share reads them: many need earlier messages.
    formats: tuple[Format, ...] = ()
    window: TimeWindow = dataclasses.field(default_factory=TimeWindow)
    linger_seconds: float = 0.02  # how long the first message of a cut waits for company
    pending_bytes: int = 128 * 1024**2  # of messages that wait for their commit; then reading pauses
    posts: PostPolicy = dataclasses.field(default_factory=PostPolicy)
    latest_interval_seconds: float = 1.0
    keep_dead_letters: int = 1_000_000
    keep_gaps: int = 1_000_000  # notes of abandoned gaps
    keep_dead_letters_days: float = 90.0
    letters: LetterPolicy = dataclasses.field(default_factory=LetterPolicy)
    rates: RatePolicy = dataclasses.field(default_factory=RatePolicy)
    alarm: AlarmPolicy = dataclasses.field(default_factory=AlarmPolicy)
    drain_timeout_seconds: float = 20.0
    docs: str = DOCS
    standby_seconds: float = 5.0  # how often a worker looks whether a turn is free

    @property
    def worker(self) -> str:
        """The worker's fixed identity: the broker keeps its session by it, and the database its arrivals."""
        return self.session.client_id
