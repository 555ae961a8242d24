"""Two secrets of a device for a time; batches of devices that register themselves."""

from storage.migrations.run import execute_sql_file

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create what it needs."""
    execute_sql_file("0012_rotation_and_claims.sql")
