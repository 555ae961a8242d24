"""People who sign in with a name, and their sessions."""

from storage.migrations.run import execute_sql_file

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create what it needs."""
    execute_sql_file("0013_people.sql")
