"""Jobs that write readings into files."""

from storage.migrations.run import execute_sql_file

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create their table."""
    execute_sql_file("0006_exports.sql")
