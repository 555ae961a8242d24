"""How the process is: ``/healthz``, ``/readyz``, ``/metrics``; without a key, for the machines beside it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field, with_config
from starlette.responses import PlainTextResponse, Response
from typing_extensions import TypedDict

from api.description import problem
from api.members import ANSWER
from api.problems import ProblemError, unavailable
from api.responses import answer
from api.services import Whole
from api.telemetry import ApiMetrics
from sensors.errors import AlatauError
from storage.database import Edition, read_edition

router = APIRouter(tags=["operation"])


@with_config(ANSWER)
class Health(TypedDict):
    """The process lives."""

    status: Literal["ok"]


@with_config(ANSWER)
class Readiness(TypedDict):
    """Requests can be answered; what with."""

    status: Literal["ready"]
    postgresql: Annotated[str, Field(description="Version of the server.", examples=["17.11"])]
    timescaledb: Annotated[str, Field(description="Version of the extension.", examples=["2.19.3"])]
    licence: Annotated[str, Field(description="`apache` or `timescale` (Community).", examples=["apache"])]
    revision: Annotated[str | None, Field(description="Of the database's schema.", examples=["0003"])]
    catalogue_version: Annotated[int | None, Field(description="Counts what was applied.", examples=[1])]


@router.get("/healthz", response_model=Health)
async def get_health() -> Response:
    """Tell that the process lives."""
    content: Health = {"status": "ok"}
    return answer(content)


@router.get("/readyz", response_model=Readiness, responses={503: problem(503)})
async def get_readiness(api: Whole) -> Response:
    """Tell whether requests can be answered, and if not, what is missing."""
    missing: list[str] = []
    edition = await _edition(api, missing)
    if edition is not None and edition.revision != api.revision:
        missing.append(
            f"the database is at revision {edition.revision}, this version needs {api.revision}; "
            "run: alatau migrate"
        )
    if edition is not None and api.snapshot.version is None:
        missing.append("no catalogue was applied; run: alatau migrate")
    if missing or edition is None:
        raise unavailable("; ".join(missing), missing=missing)
    return answer(_ready(edition, api.snapshot.version))


async def _edition(api: Whole, missing: list[str]) -> Edition | None:
    try:
        async with api.database.connection() as connection:
            return await read_edition(connection)
    except ProblemError as problem:
        missing.append(problem.detail)
    except AlatauError as error:
        missing.append(str(error))
    return None


def _ready(edition: Edition, catalogue_version: int | None) -> Readiness:
    return {
        "status": "ready",
        "postgresql": edition.postgresql,
        "timescaledb": edition.timescaledb,
        "licence": edition.licence,
        "revision": edition.revision,
        "catalogue_version": catalogue_version,
    }


@router.get("/metrics", response_class=PlainTextResponse)
async def get_metrics(request: Request) -> Response:
    """Return the process's own metrics for Prometheus."""
    metrics: ApiMetrics = request.app.state.metrics
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
