"""The kernel's one error tree.

AlatauError
├── CatalogueError   a city file or a kind is wrong: names file, key and the nearest valid value
└── RuleError        a rule of alerts is wrong: names the rule, the member and what would be right
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AlatauError(Exception):
    """Base of every error this project raises for its users; the text ends with what to do."""


class CatalogueError(AlatauError):
    """A catalogue is not valid."""


class RuleError(AlatauError):
    """A rule of alerts is not valid."""


def nearest(word: str, valid: Iterable[str], *, limit: int = 1) -> list[str]:
    """Return the valid words nearest to one that is not, best first, at most ``limit``."""
    return difflib.get_close_matches(word.lower(), sorted(set(valid)), n=limit, cutoff=0.5)


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """Return «did you mean "x"?», or the list of what is valid when nothing is near."""
    choices = sorted(set(valid))
    if near := nearest(word, choices):
        return f'did you mean "{near[0]}"?'
    shown = ", ".join(choices[:20]) + (", …" if len(choices) > 20 else "")
    return f"valid: {shown}" if choices else "none is valid here"
