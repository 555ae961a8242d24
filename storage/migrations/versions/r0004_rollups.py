"""Rollups, how far they have come, and what has changed since."""

from storage.migrations.run import execute_sql_file

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create them."""
    execute_sql_file("0004_rollups.sql")
