"""Where alerts are delivered to: what a destination is, and what of it is valid."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import enum
import re
import secrets
import urllib.parse
from collections.abc import Sequence

from sensors.alerts import Severity
from sensors.errors import AlatauError
from sensors.messages import Language
from sensors.networks import Network, is_reachable, parse_ip

DESTINATION_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
MOST_RECIPIENTS = 20
MOST_PER_MINUTE = 6000
_LONGEST_URL = 2000
# One mailbox of RFC 5321, without quotes and without what is not ASCII.
_MAILBOX = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?"
)
_SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret of a webhook begins with


class DestinationType(enum.StrEnum):
    """How alerts are delivered."""

    WEBHOOK = "webhook"
    MQTT = "mqtt"
    EMAIL = "email"


# For how long a webhook is also signed with the secret that it had before.
SECRET_GRACE = dt.timedelta(days=1)
# Messages a minute, where nothing else is said.
PER_MINUTE = {DestinationType.WEBHOOK: 120, DestinationType.MQTT: 1200, DestinationType.EMAIL: 6}


class DestinationError(AlatauError):
    """A destination is not valid; the text ends with what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Destination:
    """A destination as its operator describes it; ``districts`` and ``kinds`` None are all.

    ``url`` is of a webhook, ``recipients`` of e-mail; ``language`` is of titles and sentences, and of all in a mail.
    """

    name: str
    type: DestinationType
    url: str | None = None
    recipients: tuple[str, ...] = ()
    severity: Severity = Severity.WARNING
    districts: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    per_minute: int = 60
    is_enabled: bool = True
    language: Language = Language.ENGLISH


def check_destination(destination: Destination, allowed: Sequence[Network]) -> None:
    """Raise DestinationError for what can't be delivered to: ``allowed`` are private networks of webhooks."""
    if not DESTINATION_NAME.fullmatch(destination.name):
        raise DestinationError(
            f'"{destination.name[:80]}" is no name of a destination; take 1 to 32 of a to z, 0 to 9 and "-" between'
        )
    if not 1 <= destination.per_minute <= MOST_PER_MINUTE:
        raise DestinationError(f"{destination.per_minute} messages a minute; give 1 to {MOST_PER_MINUTE}")
    is_webhook, is_email = (
        destination.type is one for one in (DestinationType.WEBHOOK, DestinationType.EMAIL)
    )
    if is_webhook != (destination.url is not None):
        raise DestinationError("a webhook has a url, and nothing else has one; give it with type webhook")
    if is_email != bool(destination.recipients):
        raise DestinationError("e-mail has recipients, and nothing else has them; give them with type email")
    if destination.url is not None:
        _check_url(destination.url, allowed)
    if len(destination.recipients) > MOST_RECIPIENTS:
        raise DestinationError(
            f"give at most {MOST_RECIPIENTS} recipients; a list of your mail server has more"
        )
    for one in destination.recipients:
        if not _MAILBOX.fullmatch(one) or ".." in one or "=?" in one:
            raise DestinationError(f'"{one[:80]}" is no e-mail address; write name@example.org')


def _check_url(url: str, allowed: Sequence[Network]) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
        parts.port  # noqa: B018 - raises where it is none
    except ValueError:
        host = None
    if not host or len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise DestinationError(f'"{url[:80]}" is no address of a webhook; write https://host/path')
    if not all(0 < len(label) < 64 for label in host.removesuffix(".").split(".")):
        raise DestinationError(f'"{url[:80]}" names no host: its parts have 1 to 63 characters each')
    if parts.scheme not in ("https", "http") or parts.fragment or parts.username is not None:
        raise DestinationError(
            f'"{url[:80]}" is no address of a webhook; write https://host/path, without a user and without #'
        )
    address = parse_ip(host)
    if address is not None and not is_reachable(address, allowed):
        raise DestinationError(private_address(host))
    is_named = address is None or any(address in network for network in allowed)
    if parts.scheme == "http" and not (allowed and is_named):
        raise DestinationError(
            "everybody on the way reads http://; write https://, or name the private network that it is in in "
            "ALATAU_WEBHOOK_NETWORKS"
        )


def private_address(host: str) -> str:
    """Return the sentence about an address that a webhook may not have."""
    return (
        f"{host} is of a private network; give an address of the internet, or name the network in "
        "ALATAU_WEBHOOK_NETWORKS"
    )


def generate_webhook_secret() -> str:
    """Return a new secret that messages of a webhook are signed with, as Standard Webhooks writes it."""
    return _SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def webhook_key(secret: str) -> bytes:
    """Return the key of HMAC that a secret stands for."""
    return base64.b64decode(secret.removeprefix(_SECRET_PREFIX))
