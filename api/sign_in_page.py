"""The page on which people sign in: three files of our own, and nothing of anybody else."""

from __future__ import annotations

import functools
import importlib.resources

from fastapi import APIRouter
from starlette.responses import Response

from api.caching import REVALIDATED

router = APIRouter(include_in_schema=False)

# Stricter than what the documentation's page needs: no script and no style within the page.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


@functools.cache
def _file(name: str) -> bytes:
    return importlib.resources.files("api").joinpath("pages", name).read_bytes()


def _page(name: str, media_type: str) -> Response:
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": REVALIDATED}
    return Response(_file(name), media_type=media_type, headers=headers)


@router.get("/sign-in")
async def get_page() -> Response:
    """Return the page."""
    return _page("sign-in.html", "text/html")


@router.get("/sign-in/page.js")
async def get_script() -> Response:
    """Return its script."""
    return _page("sign-in.js", "text/javascript")


@router.get("/sign-in/page.css")
async def get_style() -> Response:
    """Return its style."""
    return _page("sign-in.css", "text/css")
