"""Signing in elsewhere by OpenID Connect: off to the issuer and back, and who comes back is somebody of ours.

Browsers are sent here, programs use keys; so these two are no part of the published description.
"""

from __future__ import annotations

import hashlib
import hmac
import urllib.parse
from collections.abc import Mapping
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.access import address_of, refuse_if_too_often_wrong, take_turn_of_address
from api.contract import PREFIX
from api.cookies import cookie_name, is_secure, set_cookie
from api.oidc_flow import COOKIE, HOME, Flow, is_own_path, open_flow
from api.oidc_issuer import CodeRefusedError, Issuer, IssuerError
from api.oidc_options import Grant, OidcOptions
from api.oidc_refusals import UNASKED, RefusedError, metrics_of, of_issuer, refuse, show
from api.oidc_tokens import Expected, Fault, NotTrustedError, verify
from api.problems import ProblemError, invalid_parameter
from api.services import Services, Whole
from api.signing_in import let_in
from storage.audit import Event, record
from storage.external_users import Arrival, arrive, end_sessions, hold_by_subject
from storage.users import USER_NAME, NewUser, User

router = APIRouter(prefix=f"{PREFIX}/session/oidc", include_in_schema=False)

log = structlog.get_logger("api.oidc")

_SIGNED_IN = "signed_in"
Given = Annotated[str | None, Query(max_length=4096)]


@router.get("")
async def get_start(request: Request, whole: Whole, to: Annotated[str, Query()] = HOME) -> Response:
    """Send a browser to the issuer; ``to`` is the path of ours where it ends up."""
    take_turn_of_address(request, whole)
    if not is_own_path(to):
        raise invalid_parameter("to", "is no path of this server; give one such as /docs")
    options, issuer = _configured(whole)
    try:
        endpoint = (await issuer.metadata()).authorization_endpoint
    except IssuerError as error:
        return refuse(request, whole, of_issuer(error))
    flow = Flow.begin(to)
    query = urllib.parse.urlencode(
        {
            "response_type": "code",
            "client_id": options.client_id,
            "redirect_uri": options.redirect_uri,
            "scope": options.scopes,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": flow.challenge,
            "code_challenge_method": "S256",
        }
    )
    response = _redirect(f"{endpoint}{'&' if '?' in endpoint else '?'}{query}")
    response.set_cookie(
        cookie_name(request, COOKIE),
        flow.seal(options, whole.clock()),
        max_age=options.flow_seconds,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )
    return response


@router.get("/callback")
async def get_callback(
    request: Request,
    whole: Whole,
    code: Given = None,
    state: Given = None,
    error: Given = None,
    iss: Given = None,
) -> Response:
    """Let in who comes back from the issuer; whatever comes of it, the sign-in that it is of is over."""
    take_turn_of_address(request, whole)
    refuse_if_too_often_wrong(address_of(request), whole)
    options, issuer = _configured(whole)
    try:
        flow = await _flow_of(request, whole, state, error, iss)
        claims = await _claims_of(issuer, options, flow, code, int(whole.clock().timestamp()))
        token = await _let_in(request, whole, options, claims)
    except IssuerError as failure:
        response = refuse(request, whole, of_issuer(failure))
    except RefusedError as refused:
        response = refuse(request, whole, refused)
        if refused.fault in UNASKED:
            return response
    except ProblemError as problem:
        response = show(request, problem)
    else:
        response = _redirect(flow.to)
        set_cookie(request, response, token, whole.options.sign_in.lifetimes)
        metrics_of(request).count_sign_in(_SIGNED_IN)
    response.delete_cookie(
        cookie_name(request, COOKIE), path="/", secure=is_secure(request), httponly=True, samesite="lax"
    )
    return response


async def _flow_of(
    request: Request, whole: Services, state: str | None, error: str | None, iss: str | None
) -> Flow:
    """Return the sign-in that an answer is of, which this browser has begun."""
    options, issuer = _configured(whole)
    sealed = request.cookies.get(cookie_name(request, COOKIE), "")
    flow = open_flow(sealed, options, whole.clock())
    if flow is None:
        raise RefusedError(Fault.FLOW, "no cookie of ours, or too old a one" if sealed else "no cookie")
    if state is None or not hmac.compare_digest(state.encode(errors="surrogatepass"), flow.state.encode()):
        raise RefusedError(Fault.STATE, "no state" if state is None else "another state")
    # RFC 9207: an answer of another issuer is not taken for one of ours.
    if iss != options.issuer and (iss is not None or (await issuer.metadata()).names_itself):
        raise RefusedError(Fault.ISSUER, f"the answer is of {str(iss)[:200]!r}")
    if error is not None:
        raise RefusedError(Fault.DENIED, f"the issuer says {error[:200]!r}")
    return flow


async def _claims_of(
    issuer: Issuer, options: OidcOptions, flow: Flow, code: str | None, now: int
) -> Mapping[str, Any]:
    if not code:
        raise RefusedError(Fault.CODE, "no code")
    try:
        tokens = await issuer.exchange(code, flow.verifier)
        expected = Expected(flow.nonce, tokens.access_token, now)
        return await verify(tokens.id_token, issuer, options, expected)
    except CodeRefusedError as error:
        raise RefusedError(Fault.CODE, str(error)) from error
    except NotTrustedError as error:
        raise RefusedError(error.fault, str(error)) from error


async def _let_in(request: Request, whole: Services, options: OidcOptions, claims: Mapping[str, Any]) -> str:
    """Make somebody new, or what the claims say of them now, and open a session, in one transaction; return its token.

    In two, another sign-in that takes the role away could end the sessions in between.
    """
    subject: str = claims["sub"]
    grant = options.rules.grant(claims)
    if grant is None:
        raise RefusedError(
            Fault.ROLE, f"nothing is for {subject}", await _put_out(whole, options, subject), subject
        )
    new, names = _new_user(options, subject, grant), _names(claims, options.issuer)
    async with whole.database.connection() as connection, connection.transaction():
        arrival = await arrive(connection, new, names)
        if arrival is None:
            raise RefusedError(
                Fault.SUBJECT, "every name that they could have is somebody else's", None, subject
            )
        if arrival.user.disabled_at is not None:
            raise RefusedError(Fault.DISABLED, "disabled", arrival.user, subject)
        if arrival.is_changed:
            await record(connection, [_change(request, options, arrival)])
        token = await let_in(connection, request, whole, arrival.user, by=options.issuer)
    if arrival.is_changed:
        whole.sessions.forget()
    return token


async def _put_out(whole: Services, options: OidcOptions, subject: str) -> User | None:
    """End the sessions of somebody who had a role before, if they are known here."""
    async with whole.database.connection() as connection, connection.transaction():
        known = await hold_by_subject(connection, options.issuer, subject)
        if known is not None:
            await end_sessions(connection, known)
    if known is not None:
        whole.sessions.forget()
    return known


def _new_user(options: OidcOptions, subject: str, grant: Grant) -> NewUser:
    return NewUser(
        "", grant.role, grant.scope, issuer=options.issuer, subject=subject, created_by=options.issuer
    )


def _names(claims: Mapping[str, Any], issuer: str) -> list[str]:
    """Return what somebody may be called here, the best first: a name that is taken stays whose it is."""
    digest = hashlib.sha256(f"{issuer} {claims['sub']}".encode()).hexdigest()
    given = (str(claims.get(claim, "")).strip().lower() for claim in ("preferred_username", "email"))
    name = next((name for name in given if USER_NAME.fullmatch(name)), None)
    return [*([name, f"{name[:80]}+{digest[:8]}"] if name else []), f"user-{digest[:16]}"]


def _change(request: Request, options: OidcOptions, arrival: Arrival) -> Event:
    user, before = arrival.user, arrival.before
    return Event(
        options.issuer,
        "change user" if before else "add user",
        subject=user.name,
        address=address_of(request),
        detail={
            "subject": user.subject,
            "role": user.role.value,
            "districts": user.scope.districts,
            "kinds": user.scope.kinds,
            **({"name_before": before.name, "role_before": before.role.value} if before else {}),
        },
    )


def _configured(whole: Services) -> tuple[OidcOptions, Issuer]:
    if whole.options.oidc is None or whole.issuer is None:
        raise RuntimeError("these routes are there only where an issuer is")
    return whole.options.oidc, whole.issuer


def _redirect(url: str) -> Response:
    return Response(status_code=303, headers={"Location": url, "Cache-Control": "no-store"})
