"""The page: static files without a build step, which the API serves under ``/ui``."""
