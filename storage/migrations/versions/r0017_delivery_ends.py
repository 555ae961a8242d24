"""Who was told of an alert is told of its end; severities in histories; when something was last said."""

from storage.migrations.run import execute_sql_file

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Change the tables of alerts and deliveries."""
    execute_sql_file("0017_delivery_ends.sql")
