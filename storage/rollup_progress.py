"""How far each kind's rollups have come."""

from __future__ import annotations

import dataclasses

from storage.kinds import Connection
from storage.rollup_marks import NEVER, as_microseconds
from storage.rollup_tables import Tier


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a kind's rollups have come, Unix µs or NEVER; the columns of ``alatau.rollup_progress``."""

    zone: str
    logged_to: int = NEVER
    clean_to: int = NEVER
    horizon: int = NEVER
    horizon_5m: int = NEVER
    horizon_1h: int = NEVER
    horizon_1d: int = NEVER

    def horizon_of(self, tier: Tier) -> int:
        """Return before which time a tier's rows were dropped."""
        return {Tier.MINUTES: self.horizon_5m, Tier.HOUR: self.horizon_1h, Tier.DAY: self.horizon_1d}[tier]


async def read_progress(connection: Connection) -> dict[str, Progress]:
    """Return how far each kind has come; a kind whose rollups were never made is not among them."""
    rows = await connection.fetch("SELECT * FROM alatau.rollup_progress")
    times = [field.name for field in dataclasses.fields(Progress) if field.name != "zone"]
    return {
        row["kind"]: Progress(row["zone"], *(as_microseconds(row[name]) for name in times)) for row in rows
    }
