"""A device's life: disabled, enabled, another secret, deleted."""

from storage.migrations.run import execute_sql_file

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create what it needs."""
    execute_sql_file("0010_device_accounts.sql")
