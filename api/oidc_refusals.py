"""Signing in elsewhere that came to nothing: what people are told, and what is put on record."""

from __future__ import annotations

import html
from collections.abc import Mapping

import structlog
from fastapi import Request
from starlette.responses import HTMLResponse, Response

from api import problems
from api.access import address_of, unauthorized
from api.auditing import Refusal
from api.keys import user_actor
from api.oidc_issuer import IssuerAwayError, IssuerError
from api.oidc_tokens import Fault
from api.problems import REQUEST_ID, ProblemError, ProblemType, unavailable
from api.services import Services
from api.sign_in_page import POLICY
from api.telemetry import ApiMetrics
from storage.users import User

log = structlog.get_logger("api.oidc")

_SOMEBODY = "somebody from elsewhere"
# What another site can make any browser send: it counts for nothing, and ends no sign-in that is under way.
UNASKED = frozenset({Fault.FLOW, Fault.STATE})
# What is nobody's attempt to get in by what they don't have; all else is counted as a wrong key is.
_HARMLESS = UNASKED | {Fault.AWAY, Fault.WRONG, Fault.ROLE, Fault.DISABLED, Fault.DENIED}
_AGAIN = "sign in again"
DISABLED = "you are disabled here; ask an admin of Alatau to enable you"
_UNPROVEN = (
    "what your organisation sent does not prove who you are; "
    "sign in again, and tell the operator this request_id if it goes on"
)
_TOLD: Mapping[Fault, tuple[ProblemType, str]] = {
    Fault.FLOW: (
        ProblemType.UNAUTHORIZED,
        f"no sign-in was begun in this browser, at this address and a short time ago; {_AGAIN}, with cookies allowed",
    ),
    Fault.STATE: (ProblemType.UNAUTHORIZED, f"this answer is of another sign-in; {_AGAIN}"),
    Fault.CODE: (ProblemType.UNAUTHORIZED, f"this sign-in was used already, or is too old; {_AGAIN}"),
    Fault.DENIED: (
        ProblemType.UNAUTHORIZED,
        f"your organisation did not let you in; ask there, and {_AGAIN}",
    ),
    Fault.ROLE: (
        ProblemType.FORBIDDEN,
        "your organisation knows you, but gives you nothing to do here; ask there for a group that has a role",
    ),
    Fault.DISABLED: (ProblemType.FORBIDDEN, DISABLED),
    Fault.WRONG: (
        ProblemType.ISSUER_WRONG,
        "your organisation's sign-in answers wrongly; tell the operator, who finds the reason in the log",
    ),
}


class RefusedError(Exception):
    """An attempt that came to nothing."""

    def __init__(
        self, fault: Fault, detail: str, user: User | None = None, subject: str | None = None
    ) -> None:
        super().__init__(detail)
        self.fault = fault
        self.user = user
        self.subject = subject


def of_issuer(error: IssuerError) -> RefusedError:
    """Return the refusal of an attempt for which the issuer could not be asked."""
    return RefusedError(Fault.AWAY if isinstance(error, IssuerAwayError) else Fault.WRONG, str(error))


def refuse(request: Request, whole: Services, refused: RefusedError) -> Response:
    """Return what a browser shows of a refusal; put on record what it was."""
    fault, address = refused.fault, address_of(request)
    log.warning(
        "a sign-in elsewhere was refused",
        fault=fault.value,
        detail=str(refused),
        request_id=request.scope.get(REQUEST_ID),
    )
    actor = user_actor(refused.user.name) if refused.user else _SOMEBODY
    told = f"oidc: {fault.value}" + (f", {refused.subject}" if refused.subject else "")
    whole.auditor.refused(Refusal(actor, "sign in", address, told))
    metrics_of(request).count_sign_in(fault.value)
    if fault not in _HARMLESS:
        whole.rates.of_wrong_keys.take(address)
    return show(request, _problem(fault))


def show(request: Request, problem: ProblemError) -> Response:
    """Return a problem as who asks reads it: people see a page."""
    if "text/html" not in request.headers.get("accept", ""):
        return problems.respond(request, problem)
    page = _PAGE.format(
        detail=html.escape(problem.detail),
        request_id=html.escape(str(request.scope.get(REQUEST_ID))),
    )
    headers = {**problem.headers, "Content-Security-Policy": POLICY}
    return HTMLResponse(page, problem.kind.status, headers)


def _problem(fault: Fault) -> ProblemError:
    if fault is Fault.AWAY:
        return unavailable(
            "your organisation's sign-in can't be reached; try again in a minute, or sign in with a password",
            30,
        )
    kind, detail = _TOLD.get(fault, (ProblemType.UNAUTHORIZED, _UNPROVEN))
    return unauthorized(detail) if kind is ProblemType.UNAUTHORIZED else ProblemError(kind, detail)


def metrics_of(request: Request) -> ApiMetrics:
    """Return the application's metrics."""
    metrics: ApiMetrics = request.app.state.metrics
    return metrics


_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Not signed in · Alatau</title>
  <link rel="stylesheet" href="/sign-in/page.css">
</head>
<body>
  <main>
    <h1>Alatau</h1>
    <p role="alert">{detail}.</p>
    <p>request_id {request_id}</p>
    <a class="button" href="/sign-in">Back</a>
  </main>
</body>
</html>
"""
