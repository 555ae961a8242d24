"""The application: its parts, put together."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType

import structlog
from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry
from starlette_compress import CompressMiddleware, add_compress_type, remove_compress_type

from api import (
    alert_rules,
    alerts,
    api_keys,
    audit,
    batches,
    broker_address,
    city,
    corrections,
    dead_letters,
    decode,
    deliveries,
    description,
    destinations,
    device_changes,
    devices,
    exports,
    fleet,
    gaps,
    gateways,
    health,
    heatmap,
    latest,
    live,
    maintenance_windows,
    map_tiles,
    oidc,
    problems,
    profiles,
    quality,
    readings,
    series,
    sessions,
    sign_in_page,
    sources,
    state,
    top,
    ui,
    users,
)
from api.access import allow, allow_lasting
from api.auditing import Auditor
from api.caching import Caching
from api.claims import Claims
from api.database import Database
from api.edge import Edge
from api.endings import Endings
from api.exchange import Exchange
from api.export_runner import ExportRunner
from api.formats import Format
from api.keys import KeyCache, KeyTurns
from api.live_guard import LiveGuard
from api.live_hub import Hub
from api.live_reader import LiveReader
from api.oidc_issuer import Issuer
from api.options import ApiOptions, DeviceAccounts, MessageReader
from api.password_work import PasswordWork
from api.reconciliation import Dismissals, Reconciliation
from api.services import Clock, Rates, Services
from api.snapshot import CatalogueWatch
from api.telemetry import ApiMetrics
from api.throttle import Throttle
from sensors.rates import Buckets, Rate
from storage.api_keys import KEYS_CHANNEL, Role
from storage.migrations import HEAD
from storage.rotations import ENDINGS_CHANNEL

__all__ = ["ApiOptions", "DeviceAccounts", "create_app"]

VERSION = "1"

log = structlog.get_logger("api")

_DESCRIPTION = """
The telemetry of a digital city. Every path below `/api/v1` needs an API key, or the session of
somebody who has signed in. Times are RFC 3339, ranges are
half-open, units are UCUM codes, lists continue at `next`. Errors are RFC 9457 problems that say what to do.
"""


# Which role it takes to read, and to change, what each is about.
_ROLES: dict[ModuleType, tuple[Role, Role]] = {
    city: (Role.VIEWER, Role.ADMIN),
    broker_address: (Role.VIEWER, Role.ADMIN),
    devices: (Role.VIEWER, Role.OPERATOR),
    fleet: (Role.VIEWER, Role.ADMIN),
    state: (Role.VIEWER, Role.ADMIN),
    device_changes: (Role.OPERATOR, Role.OPERATOR),
    batches: (Role.OPERATOR, Role.OPERATOR),
    gateways: (Role.ADMIN, Role.ADMIN),
    latest: (Role.VIEWER, Role.ADMIN),
    readings: (Role.ANALYST, Role.ADMIN),
    series: (Role.VIEWER, Role.ADMIN),
    top: (Role.VIEWER, Role.ADMIN),
    heatmap: (Role.VIEWER, Role.ADMIN),
    quality: (Role.VIEWER, Role.ADMIN),
    exports: (Role.ANALYST, Role.ANALYST),
    corrections: (Role.ANALYST, Role.OPERATOR),
    dead_letters: (Role.OPERATOR, Role.OPERATOR),
    sources: (Role.ANALYST, Role.OPERATOR),
    profiles: (Role.ANALYST, Role.ADMIN),
    decode: (Role.ANALYST, Role.ANALYST),
    gaps: (Role.ANALYST, Role.OPERATOR),
    alerts: (Role.VIEWER, Role.OPERATOR),
    alert_rules: (Role.VIEWER, Role.ADMIN),
    maintenance_windows: (Role.VIEWER, Role.OPERATOR),
    api_keys: (Role.ADMIN, Role.ADMIN),
    users: (Role.ADMIN, Role.ADMIN),
    audit: (Role.ADMIN, Role.ADMIN),
    destinations: (Role.ADMIN, Role.ADMIN),
    deliveries: (Role.ADMIN, Role.ADMIN),
    sessions: (Role.VIEWER, Role.VIEWER),
}


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _go_on() -> None:
    pass


def create_app(
    options: ApiOptions,
    *,
    accounts: DeviceAccounts | None = None,
    reader: MessageReader | None = None,
    registry: CollectorRegistry | None = None,
    clock: Clock = _utc_now,
    on_failure: Callable[[], None] = _go_on,
) -> FastAPI:
    """Return the application; its lifespan opens and closes the database. ``on_failure`` is called when a part of it
    has ended by an error: it can't do its work any more, and the process had better end.

    Without ``accounts`` devices are neither registered nor changed, without a ``reader`` no messages read. The database
    may be away: requests then are refused with 503 until it is there.
    """
    database = Database(options)
    metrics = ApiMetrics(registry or CollectorRegistry(), lambda: database.in_use, options.pool_size)
    keys, sessions_ = (
        KeyCache(options.key_cache_size, options.key_cache_seconds, time.monotonic) for _ in range(2)
    )

    hub = Hub(options.live, metrics, time.monotonic)
    guard = LiveGuard(options, hub, database, clock)

    def forget() -> None:
        keys.forget()
        sessions_.forget()
        guard.wake()

    endings = Endings(options, database, accounts) if accounts else None
    announced: dict[str, Callable[[], None]] = {KEYS_CHANNEL: forget}
    if endings is not None:
        announced[ENDINGS_CHANNEL] = endings.wake
    snapshot = CatalogueWatch(options, announced)

    def buckets(rate: Rate) -> Buckets:
        return Buckets(rate, options.key_cache_size, time.monotonic)

    services = Services(
        options=options,
        database=database,
        snapshot=snapshot,
        keys=keys,
        sessions=sessions_,
        passwords=PasswordWork(
            options.sign_in.hashing, options.sign_in.hashing_at_once, options.sign_in.hashing_waiting
        ),
        throttle=Throttle(options.sign_in.throttle, time.monotonic),
        sign_in_turns=KeyTurns(options.sign_in.hashing_at_once, options.sign_in.waiting_per_address),
        turns=KeyTurns(options.max_concurrent_per_key, options.max_waiting_per_key),
        rates=Rates(
            buckets(options.rate_per_address),
            buckets(options.rate_per_key),
            buckets(options.rate_of_wrong_keys),
        ),
        auditor=Auditor(database),
        accounts=accounts,
        reader=reader,
        exports=ExportRunner(options.exports, database, snapshot) if options.exports else None,
        issuer=Issuer(options.oidc, time.monotonic) if options.oidc else None,
        clock=clock,
        revision=HEAD,
    )
    app = FastAPIOffline(
        title="Alatau",
        version=VERSION,
        description=_DESCRIPTION,
        redoc_url=None,
        static_url="/docs-assets",
        # Swagger UI otherwise asks a server of its makers to validate the description.
        swagger_ui_parameters={"validatorUrl": None},
        lifespan=_lifespan,
    )
    app.state.services = services
    app.state.reconciliation = Reconciliation(options, database, accounts, metrics) if accounts else None
    app.state.endings = endings
    app.state.claims = (
        Claims(
            options.claims, options.topics, database, snapshot, accounts, endings, services.auditor, metrics
        )
        if options.claims and accounts and endings
        else None
    )
    app.state.hub = hub
    app.state.live = {
        "live": LiveReader(options, hub, snapshot, clock).run,
        "live_guard": guard.run,
        "live_beat": hub.run,
    }
    app.state.metrics = metrics
    app.state.keeper = state.StateKeeper(options.state_seconds, options.air_seconds)
    if accounts is not None:
        dismissals = Dismissals(metrics, services.auditor)
        accounts.watch(dismissals.note, dismissals.miss)
    app.state.on_failure = on_failure
    problems.install(app)
    add_compress_type(problems.MEDIA_TYPE)
    for format_ in (Format.NDJSON, Format.CSV):
        # What a stream has sent is not kept until the compressor has enough for a block.
        add_compress_type(format_.media_type, streaming=True)
    # It is written once for many clients, and would be compressed for each of them.
    remove_compress_type(live.EventStream.media_type)
    # The last is the outermost. Validators are of answers as they are before they are compressed: gzip writes the
    # time into them.
    app.add_middleware(Caching)
    # Each answer is compressed once, for one client: the lowest level takes a third of the time of the usual one.
    app.add_middleware(CompressMiddleware, zstd_level=1, brotli_quality=1, gzip_level=1)
    app.add_middleware(Exchange, max_body_bytes=options.max_body_bytes, body_seconds=options.body_seconds)
    app.add_middleware(Edge, metrics=metrics)
    app.include_router(health.router)
    app.include_router(sign_in_page.router)
    app.include_router(map_tiles.router)
    app.include_router(ui.router)
    app.include_router(
        sessions.entrance,
        dependencies=[Depends(problems.refuse_unknown_parameters)],
        responses={422: description.problem(422)},
    )
    if options.oidc:
        app.include_router(oidc.router)
    for module, (read, write) in _ROLES.items():
        app.include_router(
            module.router,
            dependencies=[Depends(allow(read, write)), Depends(problems.refuse_unknown_parameters)],
            responses={422: description.problem(422)},  # in the place of FastAPI's own
        )
    app.include_router(
        live.router,
        dependencies=[Depends(allow_lasting(Role.VIEWER)), Depends(problems.refuse_unknown_parameters)],
        responses={422: description.problem(422)},
    )
    description.install(app)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    reconciliation: Reconciliation | None = app.state.reconciliation
    endings: Endings | None = app.state.endings
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        parts = {
            "database": services.database.run,
            "snapshot": services.snapshot.run,
            "audit": services.auditor.run,
            **app.state.live,
        }
        if services.exports is not None:
            parts["exports"] = services.exports.run
        if services.issuer is not None:
            await stack.enter_async_context(services.issuer)
        if services.accounts is not None and reconciliation is not None and endings is not None:
            await stack.enter_async_context(services.accounts)
            parts |= {"reconciliation": reconciliation.run, "endings": endings.run}
        if app.state.claims is not None:
            parts["claims"] = app.state.claims.run
        tasks = [
            group.create_task(_run_part(name, run, app.state.on_failure), name=f"api.{name}")
            for name, run in parts.items()
        ]
        try:
            # One attempt each, whatever comes of it: the first requests then usually find all in place.
            await services.database.attempted.wait()
            await services.snapshot.attempted.wait()
            yield
        finally:
            for task in tasks:
                task.cancel()
            # A job gives its connection back before the pool is closed.
            await asyncio.wait(tasks)
            await services.database.close()
            services.passwords.close()


async def _run_part(name: str, run: Callable[[], Awaitable[None]], on_failure: Callable[[], None]) -> None:
    try:
        await run()
    except Exception:
        # With it the application loses its database, and would refuse every request for ever.
        log.exception("a part of the API has failed; the API ends", part=name)
        on_failure()
        raise
