"""What ingest may know of the secrets of accounts."""

from storage.migrations.run import execute_sql_file

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Create what it needs."""
    execute_sql_file("0021_account_secrets.sql")
