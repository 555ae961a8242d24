"""What devices last said of themselves."""

from storage.migrations.run import execute_sql_file

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Create what it needs."""
    execute_sql_file("0016_device_status.sql")
