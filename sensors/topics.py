"""The MQTT topics of the device contract: ``{root}/{device}/{channel}``."""

from __future__ import annotations

import dataclasses
import enum
import re

DEFAULT_ROOT = "alatau/v1"
DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


# No device may be called like one of the platform's own accounts at the broker.
RESERVED_ID_PREFIX = "alatau-"


# Nor like the first level of topics of any format, or of ours: of some formats a device's id is the first level, so one
# called "telegraf" could speak below telegraf/# for others.
RESERVED_IDS = frozenset(
    {
        *(
            "application",
            "collectd",
            "homie",
            "influx",
            "json",
            "senml",
            "shellies",
            "spBv1.0",
            "stat",
            "tele",
        ),
        *("telegraf", "v1", "v1.0", "v1.1", "v2", "v3", "zigbee2mqtt", DEFAULT_ROOT.partition("/")[0]),
    }
)


def why_reserved(device: str) -> str | None:
    """Return why no device may have an id, None where it is free."""
    if device.startswith(RESERVED_ID_PREFIX):
        # A device's id is its user name at the broker, and the services' accounts are named so.
        return f'"{RESERVED_ID_PREFIX}" begins the names of services'
    if device in RESERVED_IDS:
        return "topics begin so that are not a device's; put something before or behind it"
    return None


# Where alerts are told: no device has this id, so that nothing of it is among them.
ALERTS = f"{RESERVED_ID_PREFIX}alerts"

# Mosquitto's own counts of messages: every one that it holds, and those of them that are merely retained.
BROKER_STORED = "$SYS/broker/store/messages/count"
BROKER_RETAINED = "$SYS/broker/retained messages/count"


class Channel(enum.StrEnum):
    """The last level of a device's topic."""

    TELEMETRY = "telemetry"
    STATUS = "status"
    ERRORS = "errors"
    STORED = "stored"
    COMMANDS = "commands"
    CONFIG = "config"


class ClaimChannel(enum.StrEnum):
    """The last level of a topic of claiming: a device speaks there before it has an account of its own."""

    CLAIM = "claim"
    CLAIMED = "claimed"


# What a device sends, and what it receives; the broker's access rules are made of these.
DEVICE_SENDS = (Channel.TELEMETRY, Channel.STATUS)
DEVICE_RECEIVES = (Channel.ERRORS, Channel.STORED, Channel.COMMANDS, Channel.CONFIG)


@dataclasses.dataclass(frozen=True, slots=True)
class Topics:
    """Builds topics below one root, which is a setting."""

    root: str = DEFAULT_ROOT

    def of(self, device: str, channel: Channel | ClaimChannel) -> str:
        """Return the topic of one device's channel."""
        return f"{self.root}/{device}/{channel.value}"

    def every(self, channel: Channel | ClaimChannel) -> str:
        """Return the filter that matches this channel of every device."""
        return f"{self.root}/+/{channel.value}"

    def alert_state(self, alert: str) -> str:
        """Return the topic of one alert's state, which is retained while the alert goes on."""
        return f"{self.root}/{ALERTS}/state/{alert}"

    @property
    def alert_events(self) -> str:
        """The topic of everything that becomes of alerts."""
        return f"{self.root}/{ALERTS}/events"

    @property
    def all_of_alerts(self) -> str:
        """The filter that matches every topic of alerts."""
        return f"{self.root}/{ALERTS}/#"

    def device_of(self, topic: str, channel: Channel) -> str | None:
        """Return the device of a topic, or None when the topic is not of that channel below our root."""
        prefix, suffix = f"{self.root}/", f"/{channel.value}"
        if not topic.startswith(prefix) or not topic.endswith(suffix):
            return None
        device = topic[len(prefix) : -len(suffix)]
        return device if DEVICE_ID.fullmatch(device) else None
