"""Accounts of gateways."""

from storage.migrations.run import execute_sql_file

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Create what it needs."""
    execute_sql_file("0020_gateways.sql")
