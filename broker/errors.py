"""The broker's errors."""

from sensors.errors import AlatauError


class BrokerError(AlatauError):
    """The broker can't be reached, or refused an administrative command."""
