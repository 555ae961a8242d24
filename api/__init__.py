"""The REST API: routers parse a request, call storage, and shape the answer."""
