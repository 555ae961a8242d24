"""Dead letters count their repeats."""

from storage.migrations.run import execute_sql_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the count."""
    execute_sql_file("0003_dead_letter_repeats.sql")
