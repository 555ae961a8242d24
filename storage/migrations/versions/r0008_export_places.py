"""Exports are of devices by place and tag, too."""

from storage.migrations.run import execute_sql_file

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add what selects them."""
    execute_sql_file("0008_export_places.sql")
