"""What the routes of one application share."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from api.auditing import Auditor
from api.database import Database
from api.export_runner import ExportRunner
from api.keys import KeyCache, KeyTurns
from api.oidc_issuer import Issuer
from api.options import ApiOptions, DeviceAccounts, MessageReader
from api.password_work import PasswordWork
from api.snapshot import CatalogueWatch
from api.throttle import Throttle
from sensors.catalogue import Catalogue
from sensors.rates import Buckets

Clock = Callable[[], dt.datetime]


@dataclasses.dataclass(frozen=True, slots=True)
class Rates:
    """How often each address and each key may ask, and an address be wrong."""

    of_addresses: Buckets
    of_keys: Buckets
    of_wrong_keys: Buckets


@dataclasses.dataclass(frozen=True, slots=True)
class Services:
    """The parts of one running application; ``clock`` returns aware times."""

    options: ApiOptions
    database: Database
    snapshot: CatalogueWatch
    keys: KeyCache
    sessions: KeyCache
    passwords: PasswordWork
    throttle: Throttle
    sign_in_turns: KeyTurns
    turns: KeyTurns
    rates: Rates
    auditor: Auditor
    accounts: DeviceAccounts | None
    reader: MessageReader | None
    exports: ExportRunner | None
    issuer: Issuer | None
    clock: Clock
    revision: str  # of the database that this code needs

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue as it is now. Raises a problem where there is none yet."""
        return self.snapshot.current


async def services_of(request: Request) -> Services:
    """Return the application's services; a dependency of routes.

    It awaits nothing, but a plain function would be run in a thread, for each request.
    """
    services: Services = request.app.state.services
    return services


# The services with the whole database; routes that need a key take ``api.access.Api``.
Whole = Annotated[Services, Depends(services_of)]
