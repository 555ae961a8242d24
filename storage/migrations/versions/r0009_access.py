"""Roles and scopes of keys, and the audit."""

from storage.migrations.run import execute_sql_file

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create what they need."""
    execute_sql_file("0009_access.sql")
