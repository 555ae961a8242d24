"""Sources of other formats, and profiles of device models."""

from storage.migrations.run import execute_sql_file

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Create what it needs."""
    execute_sql_file("0019_sources.sql")
