"""Certificates of devices, and which of them are valid no more."""

from storage.migrations.run import execute_sql_file

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create what it needs."""
    execute_sql_file("0011_device_certificates.sql")
