"""Where alerts are delivered to, and the outbox of deliveries."""

from storage.migrations.run import execute_sql_file

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Create what it needs."""
    execute_sql_file("0015_deliveries.sql")
