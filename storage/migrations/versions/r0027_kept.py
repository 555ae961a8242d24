"""What was kept of a source waits to be read again."""

from storage.migrations.run import execute_sql_file

revision = "0027"
down_revision = "0021"


def upgrade() -> None:
    """Create what it needs."""
    execute_sql_file("0027_kept.sql")
