"""Which private networks alerts may be sent to."""

from __future__ import annotations

from cli.settings import Settings, SettingsError
from sensors.networks import Network, parse_networks


def webhook_networks(settings: Settings) -> tuple[Network, ...]:
    """Return the private networks that webhooks may be in. Raises SettingsError."""
    try:
        return parse_networks(settings.webhook_networks)
    except ValueError as error:
        raise SettingsError(
            f"ALATAU_WEBHOOK_NETWORKS: {error}; write them as in 10.0.0.0/8,fd00::/8"
        ) from None
