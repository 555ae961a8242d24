"""In which format an answer is written: by ``?format=``, else by the Accept header."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from fastapi import Request

from api.problems import ProblemError, ProblemType, invalid_parameter


class Format(enum.StrEnum):
    """The closed set of formats."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    GEOJSON = "geojson"
    PARQUET = "parquet"
    ARROW = "arrow"

    @property
    def media_type(self) -> str:
        """The media type that its answers have and that Accept asks for."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.NDJSON: "application/x-ndjson",
    Format.CSV: "text/csv",
    Format.GEOJSON: "application/geo+json",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.ARROW: "application/vnd.apache.arrow.stream",
}
# Written by others for the same; what we answer with is always the one above.
_ALSO_KNOWN = {
    "application/ndjson": Format.NDJSON,
    "application/jsonl": Format.NDJSON,
    "application/x-parquet": Format.PARQUET,
}


def wanted_format(request: Request, asked: Format | None, offered: Sequence[Format]) -> Format:
    """Return the format asked for by parameter, else the one that the client accepts most.

    Of several accepted alike, the first of ``offered``. Raises a problem that names the valid ones.
    """
    if asked is not None:
        if asked not in offered:
            raise invalid_parameter(
                "format",
                f"{asked.value} is not for this answer; ask for {_listed(offered)}",
                nearest=offered[0].value,
                valid=[one.value for one in offered],
            )
        return asked
    accept = ",".join(request.headers.getlist("accept"))
    if not accept.strip():
        return offered[0]
    ranges = _parse_accept(accept)
    best = max(offered, key=lambda one: _quality(one, ranges))
    if _quality(best, ranges) > 0:
        return best
    raise ProblemError(
        ProblemType.NOT_ACCEPTABLE,
        f"Accept: {accept[:80]} names nothing that this answer can be; ask for "
        f"{', '.join(one.media_type for one in offered)}, or say format={offered[0].value}",
        nearest=offered[0].media_type,
        valid=[one.media_type for one in offered],
    )


def _listed(offered: Sequence[Format]) -> str:
    return ", ".join(one.value for one in offered)


def _parse_accept(accept: str) -> dict[str, float]:
    """Return the quality of each media range of an Accept header; what can't be read is left out."""
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = min(max(float(value), 0.0), 1.0)
                except ValueError:
                    quality = 0.0
        known = _ALSO_KNOWN.get(media_range)
        if media_range:
            ranges[known.media_type if known else media_range] = quality
    return ranges


def _quality(format_: Format, ranges: dict[str, float]) -> float:
    """Return how much a format is wanted: what names it more closely overrides what names it less."""
    kind = format_.media_type.partition("/")[0]
    for media_range in (format_.media_type, f"{kind}/*", "*/*"):
        if media_range in ranges:
            return ranges[media_range]
    return 0.0
