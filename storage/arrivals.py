"""The ring of arrival times of each ingest worker; what the records mean is ingest's."""

from __future__ import annotations

from storage.kinds import Connection


async def store_arrivals(connection: Connection, worker: str, slot: int, records: bytes) -> bool:
    """Overwrite one slot of a worker's ring; inside the transaction that stores the readings.

    Return False when the slot holds just this: the transaction has committed before, unknown to the worker.
    """
    status = await connection.execute(
        """
        INSERT INTO alatau.ingest_arrivals (worker, slot, records) VALUES ($1, $2, $3)
        ON CONFLICT (worker, slot) DO UPDATE SET records = EXCLUDED.records, written_at = clock_timestamp()
        WHERE ingest_arrivals.records <> EXCLUDED.records
        """,
        worker,
        slot,
        records,
    )
    return status != "INSERT 0 0"


async def load_arrivals(connection: Connection, worker: str) -> list[tuple[int, bytes]]:
    """Return a worker's ring as (slot, records), oldest first."""
    rows = await connection.fetch(
        "SELECT slot, records FROM alatau.ingest_arrivals WHERE worker = $1 ORDER BY written_at", worker
    )
    return [(row["slot"], row["records"]) for row in rows]
