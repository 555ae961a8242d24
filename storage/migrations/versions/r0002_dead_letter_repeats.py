"""Dead letters count their repeats."""

from storage.migrations.run import execute_sql_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the count."""
    execute_sql_file("0002_dead_letter_repeats.sql")
