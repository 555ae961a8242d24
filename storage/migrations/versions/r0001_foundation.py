"""Catalogue, districts, devices, keys, dead letters, latest values."""

from storage.migrations.run import execute_sql_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the fixed tables."""
    execute_sql_file("0001_foundation.sql")
