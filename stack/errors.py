"""The one error of this package: what went wrong, and what to do about it."""

SERVERS_BY_OTHER_MEANS = (
    "Install PostgreSQL 15 or later with the timescaledb extension (2.18.1 or later) and Mosquitto "
    "(2.0.21 or later) from packages, or run `docker compose up`, or set ALATAU_DATABASE_URL and "
    "ALATAU_MQTT_URL to servers that run already."
)


class StackError(Exception):
    """A local server could not be found, provisioned, started or stopped; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.remedy}"
