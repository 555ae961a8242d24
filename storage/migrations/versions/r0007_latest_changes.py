"""Latest values tell when they changed."""

from storage.migrations.run import execute_sql_file

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the transaction of the last change."""
    execute_sql_file("0007_latest_changes.sql")
