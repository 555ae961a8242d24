"""What the API can be told; the environment is read by the command line, not here."""

from __future__ import annotations

import dataclasses
import datetime as dt
import pathlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from api.oidc_options import OidcOptions
from api.passwords import Hashing
from api.throttle import ThrottleOptions
from broker.drift import Account, Drift
from broker.refusals import Dismissal
from broker.speech import Speech
from sensors.catalogue import Catalogue
from sensors.networks import Network
from sensors.profiles import Profile
from sensors.rates import Rate
from sensors.topics import Topics
from storage.sessions import Lifetimes


@dataclasses.dataclass(frozen=True, slots=True)
class ExportOptions:
    """Frozen policy of files that are made in the background; ``directory`` is made, for its owner only."""

    directory: pathlib.Path
    at_once: int = 2
    max_waiting: int = 100
    max_rows: int = 200_000_000  # of one file
    max_bytes: int = 10 * 2**30  # of all files together
    keep: dt.timedelta = dt.timedelta(hours=24)
    timeout_seconds: float = 3600.0
    silent: dt.timedelta = dt.timedelta(seconds=30)  # after which a process that runs a job is taken for dead
    most_attempts: int = 3
    poll_seconds: float = 1.0  # between reports, and looks for jobs of other processes


@dataclasses.dataclass(frozen=True, slots=True)
class SignInOptions:
    """Frozen policy of people's passwords and sessions."""

    lifetimes: Lifetimes = dataclasses.field(default_factory=Lifetimes)
    hashing: Hashing = dataclasses.field(default_factory=Hashing)
    hashing_at_once: int = 2
    hashing_waiting: int = 20
    waiting_per_address: int = 8
    throttle: ThrottleOptions = dataclasses.field(default_factory=ThrottleOptions)


_PER_BATCH = Rate(10, 64)


@dataclasses.dataclass(frozen=True, slots=True)
class ClaimOptions:
    """Frozen policy of devices that register themselves; the account hears their claims at the broker of ``url``."""

    url: str
    username: str
    password: str
    ca: str | None = None
    most_waiting: int = 256  # claims; what comes beyond comes again
    rate_per_batch: Rate = _PER_BATCH


# A page of panels asks a dozen questions at once, and a program that reads a city page by page some hundreds.
_PER_KEY, _PER_ADDRESS, _WRONG_KEYS = Rate(200, 2000), Rate(400, 4000), Rate(0.5, 20)


@dataclasses.dataclass(frozen=True, slots=True)
class LiveOptions:
    """Frozen policy of streams of what happens now."""

    max_clients: int = 1500  # below the connections that there are, so that others find one
    max_of_one: int = 1000  # of one key or person
    every_seconds: float = 1.0  # at most one batch in this time
    poll_seconds: float = 1.5  # in case a notification is lost
    heartbeat_seconds: float = 15.0
    recheck_seconds: float = 5.0  # of keys and sessions, in case a notification is lost
    longest_seconds: float = 3600.0  # of one stream; the client comes again, and goes on where it was
    max_behind: int = 10  # batches that wait for a client before it is dropped
    look_back_seconds: float = 30.0  # that a client may have missed and still be given
    look_back_rows: int = 60_000


@dataclasses.dataclass(frozen=True, slots=True)
class ApiOptions:
    """Frozen policy of one API process. ``mqtt_url`` and ``mqtt_ca`` are what devices are told to use."""

    database_url: str
    pool_size: int = 10
    niceness: int = 0  # of the database's processes that answer us, where they are on this machine
    pool_wait_seconds: float = 5.0  # how long a request waits for a connection before it is refused
    statement_timeout_seconds: float = 10.0
    key_cache_seconds: float = 30.0
    key_cache_size: int = 1024
    catalogue_poll_seconds: float = 30.0  # in case a notification is lost
    retry_seconds: float = 1.0
    accounts_poll_seconds: float = 600.0  # between comparisons of the broker's accounts with the device table
    topics: Topics = dataclasses.field(default_factory=Topics)
    speeches: tuple[Speech, ...] = ()  # formats of other firmware, those that gateways speak among them
    mqtt_url: str = "mqtt://127.0.0.1:1883"
    mqtt_ca: str | None = None
    max_buckets: int = 11_000
    max_points: int = 1_000_000
    max_streams: int = 4  # answers without pages at once; each holds a connection
    max_stream_rows: int = 20_000_000
    stream_timeout_seconds: float = 600.0
    live: LiveOptions = dataclasses.field(default_factory=LiveOptions)
    exports: ExportOptions | None = None
    claims: ClaimOptions | None = None
    # As many as are answered in the same time as more would be: more at once only hold up those who store readings.
    max_concurrent_per_key: int = 4
    max_waiting_per_key: int = 32  # a page of panels asks them all at once
    rate_per_key: Rate = _PER_KEY
    rate_per_address: Rate = _PER_ADDRESS
    rate_of_wrong_keys: Rate = _WRONG_KEYS  # of one address
    sign_in: SignInOptions = dataclasses.field(default_factory=SignInOptions)
    oidc: OidcOptions | None = None  # who else lets people in
    webhook_networks: tuple[Network, ...] = ()  # private ones that alerts may be sent to
    map_tiles: pathlib.Path | None = None  # the dashboard's base map, as PMTiles
    max_body_bytes: int = 1 << 20
    body_seconds: float = 30.0
    state_seconds: float = 2.0  # how long the city's state holds before it is asked for again
    air_seconds: float = 15.0  # the same of the index of the air
    max_quality_readings: int = 2_000_000  # that one answer about quality looks at


class DeviceAccounts(AbstractAsyncContextManager[Any], Protocol):
    """The broker's accounts of devices; whoever serves the application opens and closes them.

    Each act returns when the broker knows it, and may block for some seconds. Raises BrokerError, after which it may
    or may not have been done: the caller may repeat it.
    """

    async def add_device(self, username: str, secret: str, /) -> None:
        """Let a device in with a user name and its secret; a name that is there already gets this secret, and its
        session ends."""
        ...

    async def add_devices(self, devices: Sequence[tuple[str, str]], /) -> None:
        """Let many in, as ``add_device`` does."""
        ...

    async def delete_accounts(self, usernames: Sequence[str], /) -> None:
        """Take accounts away by their user names; their sessions end."""
        ...

    async def disable_device(self, device: str, /) -> None:
        """Keep a device out; its session ends."""
        ...

    async def enable_device(self, device: str, /) -> None:
        """Let a device in again."""
        ...

    async def delete_device(self, device: str, /) -> None:
        """Take a device's accounts away; its session ends."""
        ...

    def watch(self, on_dismissal: Callable[[Dismissal], None], on_deaf: Callable[[str], None], /) -> None:
        """Tell of each client that the broker sends away, from the next connection on; ``on_deaf`` hears why, when the
        broker does not let us know of them."""
        ...

    async def connected(self, after: int, /) -> int:
        """Wait until the broker has been connected to more often than ``after`` times; return how often."""
        ...

    async def list_devices(self) -> Iterable[Account]:
        """Return the accounts that devices have."""
        ...

    async def repair(self, drift: Drift, /) -> int:
        """Mend of these deviations what can be while the broker runs; return how many those were."""
        ...


class Explained(Protocol):
    """What messages say, and what becomes of them."""

    def as_json(self) -> dict[str, Any]:
        """Return it as ``api.decode.DecodedAnswer``, whole."""
        ...


class MessageReader(Protocol):
    """Reads messages as ingest does, and keeps nothing of them."""

    @property
    def formats(self) -> Sequence[str]:
        """The names of the formats of other firmware that are understood."""
        ...

    def format_of(self, topic: str, /) -> str | None:
        """Return the name of the format whose topic it is, also that of our own; None where it is of none."""
        ...

    def publisher_of(self, topic: str, /) -> str | None:
        """Return the device whose own topic it is, registered or not; None where it is a gateway's."""
        ...

    def explain(
        self,
        messages: Sequence[tuple[str, bytes]],
        /,
        *,
        received: float,
        catalogue: Catalogue,
        kind: str | None,
        profile: Profile | None,
    ) -> Explained:
        """Return what messages, each a topic and a payload, say in their order, and what a device of a kind would
        store. ``received`` is in Unix seconds. Raises AlatauError where that can't be said.

        It keeps the processor busy for as long as ingest would be with the payloads; it may be called in a thread.
        """
        ...
