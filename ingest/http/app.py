"""What a device or a gateway's server would publish, by ``POST``, and what became of it."""

from __future__ import annotations

import base64
import dataclasses
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ingest.decoders import senml, thingsboard
from ingest.hints import HINTS
from ingest.http.accounts import Accounts
from ingest.http.bodies import Bodies, BodyPolicy
from ingest.http.identity import GuessPolicy, Identity
from ingest.http.problems import HttpProblemError, Problem, as_response, unavailable
from ingest.http.webhooks import WEBHOOKS
from ingest.posts import NotTakenError, Verdict
from sensors.accounts import client_id_of
from sensors.gateways import gateway_of
from sensors.times import format_timestamp
from sensors.topics import Channel
from storage.errors import StorageError

if TYPE_CHECKING:
    from ingest.service import Ingest

TELEMETRY_PATH = "/ingest/v1/{device}/telemetry"
WEBHOOK_PATH = "/ingest/v1/webhooks/{server}"
THINGSBOARD_PATH = "/api/v1/{token}/telemetry"  # as its HTTP API has it
_JSON = "application/json"
_SENML = ("application/senml+json", "application/senml+cbor")  # RFC 8428
_LISTED = 100  # refusals of one message that are told each
log = structlog.get_logger("ingest.http")


@dataclasses.dataclass(frozen=True, slots=True)
class HttpPolicy:
    """Limits of one worker's port."""

    bodies: BodyPolicy = dataclasses.field(default_factory=BodyPolicy)
    guesses: GuessPolicy = dataclasses.field(default_factory=GuessPolicy)


class Reception:
    """The port's state. One for each worker that takes telemetry over HTTP."""

    def __init__(self, ingest: Ingest, policy: HttpPolicy | None = None) -> None:
        policy = policy or HttpPolicy()
        self._ingest = ingest
        self._accounts = Accounts(ingest.options.database_url)
        self._identity = Identity(self._accounts.find, time.monotonic, policy.guesses)
        self._bodies = Bodies(policy.bodies)

    def close(self) -> None:
        """Let go of the database."""
        self._accounts.close()

    async def telemetry(self, request: Request) -> Response:
        """Answer once a message is committed. Raises HttpProblemError, StorageError, NotTakenError."""
        username, device = await self._identify(request), request.path_params["device"]
        if (gateway := gateway_of(username)) is not None:
            raise HttpProblemError(Problem.FORBIDDEN, f"{username} is a gateway's; {_instead(gateway[0])}")
        if client_id_of(username) != device:
            there = TELEMETRY_PATH.format(device=client_id_of(username))
            detail = f"{username} speaks for itself alone; send to {there}"
            raise HttpProblemError(Problem.FORBIDDEN, detail)
        topic = self._topic(request, device)
        payload = await self._bodies.read(request)
        return _answer(await self._store(device, topic, payload))

    async def thingsboard(self, request: Request) -> Response:
        """Answer as ``telemetry`` does where a device speaks to ThingsBoard: what names it is in the address."""
        token = base64.b64encode(request.path_params["token"].encode()).decode()
        device = client_id_of(await self._identify(request, f"Basic {token}"))
        _media_type(request, [_JSON])
        payload = await self._bodies.read(request)
        return _answer(await self._store(device, thingsboard.topic_of(device), payload))

    async def webhook(self, request: Request) -> Response:
        """Answer once a server's message is committed; what is refused of it, it can't mend: it is kept, and told.

        Raises HttpProblemError, StorageError, NotTakenError.
        """
        username, webhook = await self._identify(request), WEBHOOKS.get(request.path_params["server"])
        if webhook is None or webhook.format not in self._ingest.options.formats:
            raise HttpProblemError(
                Problem.NOT_FOUND, f"there is no such webhook; there are {', '.join(WEBHOOKS)}"
            )
        if (gateway_of(username) or ("", ""))[0] != webhook.format.name:
            raise HttpProblemError(
                Problem.FORBIDDEN,
                f"{username} is no gateway of {webhook.format.title}; "
                f"run: alatau gateway add NAME --format {webhook.format.name}",
            )
        _media_type(request, [_JSON])
        payload = await self._bodies.read(request)
        topic = webhook.topic(payload, request.query_params)
        return _acknowledge(await self._store(username, topic, payload))

    async def _identify(self, request: Request, credentials: str | None = None) -> str:
        address = request.client.host if request.client else ""
        credentials = credentials or request.headers.get("authorization")
        return await self._identity.identify(credentials, address)

    async def _store(self, sender: str, topic: str, payload: bytes) -> Verdict:
        verdict = await self._ingest.posts.store(sender, topic, payload)
        self._ingest.metrics.http_messages.inc()
        return verdict

    def _topic(self, request: Request, device: str) -> str:
        """Return the topic that a device would publish its body on."""
        read = {_JSON: self._ingest.options.topics.of(device, Channel.TELEMETRY)}
        if senml.FORMAT in self._ingest.options.formats:
            read |= dict.fromkeys(_SENML, senml.topic_of(device))
        return read[_media_type(request, read)]

    async def problem(self, request: Request, error: Exception) -> Response:
        """Answer an error as the problem that it is."""
        problem = _as_problem(request, error)
        if not isinstance(error, ClientDisconnect):  # who hears no answer
            self._ingest.metrics.http_problems.labels(problem.problem.slug).inc()
        return as_response(problem)


def create_app(ingest: Ingest, reception: Reception) -> Starlette:
    """Return the application of a worker's port for devices."""
    errors = (HttpProblemError, StorageError, NotTakenError, ClientDisconnect, HTTPException, Exception)
    app = Starlette(
        routes=[
            Route(TELEMETRY_PATH, reception.telemetry, methods=["POST"]),
            Route(WEBHOOK_PATH, reception.webhook, methods=["POST"]),
            *(
                [Route(THINGSBOARD_PATH, reception.thingsboard, methods=["POST"])]
                if thingsboard.DEVICE_FORMAT in ingest.options.formats
                else []
            ),
        ],
        exception_handlers=dict.fromkeys(errors, reception.problem),
    )
    app.state.metrics = ingest.metrics
    return app


def _instead(wire_format: str) -> str:
    for server, webhook in WEBHOOKS.items():
        if webhook.format.name == wire_format:
            return f"send to {WEBHOOK_PATH.format(server=server)}"
    return "publish over MQTT: its format has no webhook"


def _media_type(request: Request, read: Iterable[str]) -> str:
    """Return which of what is read the body is. Raises HttpProblemError."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpProblemError(Problem.UNSUPPORTED, "the body is encoded; send it as it is")
    # Small devices leave the header out.
    given = request.headers.get("content-type", _JSON)
    media_type = given.partition(";")[0].strip().lower()
    if media_type not in read:
        detail = f"Content-Type {given[:80]!r} is not read here; send {' or '.join(read)}"
        raise HttpProblemError(Problem.UNSUPPORTED, detail)
    return media_type


def _answer(verdict: Verdict) -> Response:
    numbers = {} if verdict.through is None else {"through": verdict.through}
    if verdict.faults:
        raise _refused(verdict, numbers)
    if not numbers:
        return Response(status_code=204)
    return Response(orjson.dumps(numbers), media_type=_JSON)


def _refused(verdict: Verdict, numbers: dict[str, int]) -> HttpProblemError:
    return HttpProblemError(
        Problem.REFUSED,
        f"{verdict.faults[0].detail}; the message is kept as a dead letter, and what else is in it is stored: "
        "send no part of it again",
        members=_told(verdict) | numbers,
    )


def _acknowledge(verdict: Verdict) -> Response:
    # Servers take anything else for a failure: they would send the same again, or stop sending at all.
    if not verdict.faults:
        return Response(status_code=204)
    return Response(orjson.dumps(_told(verdict)), media_type=_JSON)


def _told(verdict: Verdict) -> dict[str, Any]:
    told = [one.members() | {"hint": HINTS[one.reason]} for one in verdict.faults[:_LISTED]]
    more = len(verdict.faults) - len(told)
    return {
        "refused": told,
        **({"more": more} if more else {}),
        "received_at": format_timestamp(verdict.received),
    }


def _as_problem(request: Request, error: Exception) -> HttpProblemError:
    match error:
        case HttpProblemError():
            return error
        case NotTakenError():
            return unavailable(str(error))
        case StorageError():
            log.warning("devices can't be told apart without the database", error=str(error))
            return unavailable("the database is away")
        case ClientDisconnect():
            return HttpProblemError(Problem.TOO_SLOW, "the client went away; send the same again")
        case HTTPException(status_code=405):
            detail = f"{request.method} is not for this path; use POST"
            return HttpProblemError(Problem.METHOD_NOT_ALLOWED, detail, headers={"Allow": "POST"})
        case HTTPException():
            detail = f"{request.url.path[:200]} is not a path; send to {TELEMETRY_PATH} or {WEBHOOK_PATH}"
            return HttpProblemError(Problem.NOT_FOUND, detail)
    return HttpProblemError(Problem.INTERNAL, "this is our fault, and in our log; send the same again later")
