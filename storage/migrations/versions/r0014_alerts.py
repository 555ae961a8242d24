"""Alerts: their rules, windows of maintenance, what is wrong and what became of it."""

from storage.migrations.run import execute_sql_file

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create what it needs."""
    execute_sql_file("0014_alerts.sql")
