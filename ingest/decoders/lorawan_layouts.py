"""Uplinks whose codec says the same members again, none of them nested: read in one go, and how they came is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from ingest.decoders.flat import LONGEST_NAME
from ingest.decoders.lorawan import RADIO
from ingest.decoders.parsed import ABSENT, Layout

# What is compiled is bounded, and has to be worth it.
_MOST_LAYOUTS, _MOST_FIELDS = 256, 64
_MOST_COUNTED, _ASKED_BEFORE = 1024, 2
# What JSON writes in another way: msgspec has no members of such names.
_QUOTED = re.compile(r'["\\\x00-\x1f]')

# What a member was once, it has to be again; a text may be left out.
_Members = tuple[tuple[str, type], ...]
_TYPES: Mapping[type, Any] = {float: float, bool: bool, str: str | None, type(None): str | None}

# Members of an uplink: their names as attributes, their types, and what they are by default.
Fields = list[tuple[str, Any, Any]]


class Layouts:
    """The layouts of one server's uplinks.

    ``fields_of`` returns the members of a message that is read for a type of what the codec says, of which ``path`` is
    the attribute; ``who`` and ``time`` are as in ``Layout``.
    """

    def __init__(
        self,
        fields_of: Callable[[type], Fields],
        path: str,
        who: str,
        time: Callable[[Any, float], float | None],
        rename: Literal["camel"] | None = None,
    ) -> None:
        self._fields_of, self._path, self._who, self._time, self._rename = fields_of, path, who, time, rename
        self._layouts: dict[_Members, Layout] = {}
        self._counts: dict[_Members, int] = {}

    def of(self, content: Mapping[str, Any] | None) -> Layout | None:
        """Return the layout of uplinks of which a codec says the like, None if they are not plain or seldom."""
        members = tuple([(name, type(value)) for name, value in (content or {}).items()])
        if not _is_plain(members):
            return None
        layout = self._layouts.get(members)
        if layout is None and self._has_come(members):
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[members] = self._compile(members)
        return layout

    def _has_come(self, members: _Members) -> bool:
        if len(self._counts) >= _MOST_COUNTED:
            self._counts.clear()
        count = self._counts[members] = self._counts.get(members, 0) + 1
        return count > _ASKED_BEFORE

    def _compile(self, members: _Members) -> Layout:
        # Numbered, because a member may be called what Python reserves.
        content = msgspec.defstruct(
            "Content",
            [(f"f{place}", _TYPES[kind]) for place, (_, kind) in enumerate(members)],
            rename={f"f{place}": name for place, (name, _) in enumerate(members)},
            forbid_unknown_fields=True,
            gc=False,
        )
        uplink = msgspec.defstruct(
            "Uplink", self._fields_of(content), namespace=ABSENT, rename=self._rename, gc=False
        )
        places = {
            name: f"{self._path}.f{place}" for place, (name, kind) in enumerate(members) if kind is float
        }
        return Layout(msgspec.json.Decoder(uplink).decode, places, self._who, self._time, RADIO)


def _is_plain(members: _Members) -> bool:
    return 0 < len(members) <= _MOST_FIELDS and all(
        kind in _TYPES and len(name) <= LONGEST_NAME and name not in RADIO and not _QUOTED.search(name)
        for name, kind in members
    )
