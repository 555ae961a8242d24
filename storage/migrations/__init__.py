"""The fixed tables' history, as alembic revisions of raw SQL."""

# The newest revision, written down so that services can compare without loading alembic; a test holds it
# against the revisions themselves.
HEAD = "0027"
