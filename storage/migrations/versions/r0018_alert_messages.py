"""What alerts say, as data."""

from storage.migrations.run import execute_sql_file

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Create what it needs."""
    execute_sql_file("0018_alert_messages.sql")
