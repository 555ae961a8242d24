"""Numbers of readings: what came of each device, and what it gave up."""

from storage.migrations.run import execute_sql_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables of sequences."""
    execute_sql_file("0002_sequences.sql")
