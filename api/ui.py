"""The dashboard under ``/ui``: static files, and one page for every address of a view.

What never changes under its name is kept by browsers for a year: files of others have their version in the path, ours a
hash of all of them. The page itself names that hash, and is asked about each time.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import importlib.resources
import pathlib
import re
import time

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from api.problems import ProblemError, ProblemType

router = APIRouter(include_in_schema=False)

ROOT = "/ui"
# Nothing of another origin, and nothing within the page. MapLibre's own style has pictures in it; its worker is a file.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; worker-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_REVALIDATED = "no-cache"
_FOR_EVER = "public, max-age=31536000, immutable"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".geojson": "application/geo+json",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
_PACKED = {".woff2"}
_FOLDER = pathlib.Path(str(importlib.resources.files("dashboard")))
_VENDOR = re.compile(r"vendor/[a-z-]+-\d[\d.]*/")
_INDEX = "index.html"
_PLACE = b"{assets}"
_LOOK_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """The files by their path, as they are served; ``version`` is a hash of those that are ours."""

    files: dict[str, bytes]
    version: str


@functools.lru_cache(maxsize=1)
def _read(stamp: tuple[tuple[str, int], ...]) -> Site:
    files = {name: (_FOLDER / name).read_bytes() for name, _ in stamp}
    digest = hashlib.blake2b(digest_size=8)
    for name, content in files.items():
        if not _VENDOR.match(name):
            digest.update(b"%d %s %d " % (len(name), name.encode(), len(content)) + content)
    version = digest.hexdigest()
    files[_INDEX] = files[_INDEX].replace(_PLACE, f"{ROOT}/assets/{version}".encode())
    return Site(files, version)


def read_site() -> Site:
    """Return the files; read again soon after one has changed, as when a newer version is put in their place."""
    return _site_of(int(time.monotonic() // _LOOK_SECONDS))


@functools.lru_cache(maxsize=1)
def _site_of(_: int) -> Site:
    paths = sorted(path for path in _FOLDER.rglob("*") if path.suffix in _TYPES)
    return _read(tuple((path.relative_to(_FOLDER).as_posix(), path.stat().st_mtime_ns) for path in paths))


@router.get("/")
async def get_root() -> Response:
    """Lead people to the dashboard."""
    return RedirectResponse(ROOT)


@router.get("/favicon.ico")
async def get_icon(request: Request) -> Response:
    """Return the icon where browsers look for one of pages that name none."""
    return _send(request, "icon.svg", read_site().files["icon.svg"], _REVALIDATED)


@router.get(ROOT)
@router.get(f"{ROOT}/{{path:path}}")
async def get_file(request: Request, path: str = "") -> Response:
    """Return a file, or the page of a view."""
    site = read_site()
    kind, _, rest = path.partition("/")
    if kind == "vendor" and _VENDOR.match(path) and path in site.files:
        return _send(request, path, site.files[path], _FOR_EVER)
    if kind == "assets":
        version, _, name = rest.partition("/")
        # A page of another version must not get half of this one.
        if version == site.version and name in site.files and name != _INDEX:
            return _send(request, name, site.files[name], _FOR_EVER)
    elif "." not in path:
        return _send(request, _INDEX, site.files[_INDEX], _REVALIDATED)
    raise ProblemError(ProblemType.NOT_FOUND, f'there is no file "{path[:200]}"; reload the page')


def _send(request: Request, name: str, content: bytes, kept: str) -> Response:
    suffix, tag = pathlib.PurePath(name).suffix, _tag(content)
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": kept, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if suffix not in _PACKED and "gzip" in re.split(r"[,\s]+", request.headers.get("accept-encoding", "")):
        content = _gzip(content)
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(content, headers=headers, media_type=_TYPES[suffix])


@functools.lru_cache(maxsize=512)
def _tag(content: bytes) -> str:
    return f'W/"{hashlib.blake2b(content, digest_size=8).hexdigest()}"'


# Answers are compressed for one client, with little effort; a file for all of them, so that more is worth it: it is
# smaller than what other encodings make of it in passing.
@functools.lru_cache(maxsize=512)
def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)
