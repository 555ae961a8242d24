"""The fixed tables' history, as alembic revisions of raw SQL."""
