"""Keyset cursors: where a page ended, opaque to the client and good only for the list it came from."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson

from api.problems import invalid_parameter


def encode_cursor(scope: str, *position: str | int) -> str:
    """Return the cursor of a position in the list named ``scope``."""
    return base64.urlsafe_b64encode(orjson.dumps([scope, *position])).decode().rstrip("=")


_OF_PAGES = 'take "next" of the page before, or leave it out'


def decode_cursor(
    cursor: str, scope: str, *types: type, parameter: str = "cursor", advice: str = _OF_PAGES
) -> list[Any]:
    """Return the position of a cursor, its parts of ``types``. Raises a problem of the ``parameter`` that
    brought it if it is of another list."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found, *position = orjson.loads(raw)
        if found == scope and [type(part) for part in position] == list(types):
            return _storable(position)
    except (ValueError, TypeError, binascii.Error):
        pass
    raise invalid_parameter(parameter, f"is not one that this list gave; {advice}")


def _storable(position: list[Any]) -> list[Any]:
    """Return a position that the database can compare with. Raises ValueError if it was forged otherwise."""
    for part in position:
        if "\0" in part if isinstance(part, str) else not -(2**63) <= part < 2**63:
            raise ValueError(part)
    return position
