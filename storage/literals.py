"""Values written into a statement, for COPY, which takes no parameters.

asyncpg lets the server quote them, with one more question for each COPY. Of these few types we know how.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

_TIMES = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
_PARAMETER = re.compile(r"\$([1-9][0-9]*)")
# What asyncpg makes of '-infinity', the one time that it gives no zone.
_NEVER = dt.datetime.min  # noqa: DTZ901


def with_literals(statement: str, arguments: Sequence[Any]) -> str:
    """Return a statement with each ``$n`` replaced by the argument's literal.

    Arguments are text, numbers, truths, aware times, None, and lists of these; many times are an array of datetime64 in
    UTC. The literal has no type yet, so the statement casts it where the context does not say. Raises TypeError for
    anything else.
    """
    return _PARAMETER.sub(lambda match: _literal(arguments[int(match[1]) - 1]), statement)


def _literal(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.dtype.kind == "M":
        # JSON's list of them is, but for its brackets, PostgreSQL's array; a tenth of the time of one by one.
        return f"'{{{orjson.dumps(value, option=_TIMES).decode()[1:-1]}}}'"
    text = _array(value) if isinstance(value, list | tuple) else _text(value)
    if text is None:
        return "NULL"
    if "\0" in text:
        raise TypeError("PostgreSQL's text holds every character but NUL")
    quoted = text.replace("'", "''")
    # With E, a backslash means the same whatever standard_conforming_strings is. Source: PostgreSQL 17
    # documentation, 4.1.2.2.
    if "\\" not in quoted:
        return f"'{quoted}'"
    doubled = quoted.replace("\\", "\\\\")
    return f" E'{doubled}'"


def _array(values: Sequence[Any]) -> str:
    # Source: PostgreSQL 17 documentation, 8.15.6.
    return f"{{{','.join(map(_element, values))}}}"


def _element(value: Any) -> str:
    text = _text(value)
    if text is None:
        return "NULL"
    if isinstance(value, str):
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _text(value: Any) -> str | None:
    """Return a value as PostgreSQL reads its type, None for NULL."""
    match value:
        case None:
            return None
        case str():
            return str(value)
        case bool():
            return "true" if value else "false"
        case int():
            return str(int(value))
        case float():
            return repr(float(value)) if math.isfinite(value) else str(float(value))
        case dt.datetime() if value == _NEVER:
            return "-infinity"
        case dt.datetime() if value.tzinfo is not None:
            return value.isoformat()
    raise TypeError(f"{type(value).__name__} can't be written into a statement")
