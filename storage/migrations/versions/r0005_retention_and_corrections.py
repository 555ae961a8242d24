"""How long what is kept, and corrections of what was stored."""

from storage.migrations.run import execute_sql_file

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create them."""
    execute_sql_file("0005_retention_and_corrections.sql")
