"""The page on which people sign in: three files of our own, and nothing of anybody else."""

from __future__ import annotations

import functools
import importlib.resources

from fastapi import APIRouter
from starlette.responses import Response

from api.caching import REVALIDATED
from api.services import Whole

router = APIRouter(include_in_schema=False)

# Stricter than what the documentation's page needs: no script and no style within the page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

_PLACE = b"<!-- elsewhere -->"
_ELSEWHERE = b'<a class="button quiet" href="/api/v1/session/oidc">Sign in with your organisation</a>'


@functools.cache
def _file(name: str) -> bytes:
    return importlib.resources.files("api").joinpath("pages", name).read_bytes()


def _page(content: bytes, media_type: str) -> Response:
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": REVALIDATED}
    return Response(content, media_type=media_type, headers=headers)


@router.get("/sign-in")
async def get_page(whole: Whole) -> Response:
    """Return the page; with a link to the organisation's own, if people sign in there."""
    return _page(_file("sign-in.html").replace(_PLACE, _ELSEWHERE if whole.issuer else b""), "text/html")


@router.get("/sign-in/page.js")
async def get_script() -> Response:
    """Return its script."""
    return _page(_file("sign-in.js"), "text/javascript")


@router.get("/sign-in/page.css")
async def get_style() -> Response:
    """Return its style."""
    return _page(_file("sign-in.css"), "text/css")
