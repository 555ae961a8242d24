"""What a device says that registers itself with the token of its batch, and where."""

from __future__ import annotations

import datetime as dt
import re

import msgspec

from sensors.errors import AlatauError
from sensors.kinds import DeviceSpec
from sensors.times import DAY, SECOND, parse_duration
from sensors.topics import DEVICE_ID, RESERVED_ID_PREFIX, why_reserved

BATCH_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_PREFIX = f"{RESERVED_ID_PREFIX}claim-"
# Accounts of a batch. Each is let in with its name as client id: who has the token ends the connections of these, and
# of nobody else.
_PLACES = 16
_USER = re.compile(rf"{_PREFIX}(?P<batch>{BATCH_NAME.pattern})-(?:0\d|1[0-5])")

MOST_PLACES = 10_000
LONGEST_LIFE = dt.timedelta(days=90)
MOST_BYTES = 4096
SECRET = re.compile(r"[A-Za-z0-9_-]{32,128}")
# 128 random bits in hexadecimal have fewer once in millions.
_DISTINCT = 8
_MOST_METADATA = 20
_LONGEST_TEXT = 200


class ClaimError(AlatauError):
    """What a device has sent is no claim."""


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device's claim; its kind and district are those of its batch."""

    id: str
    secret: str
    position: tuple[float, float] | None = None
    interval: str | None = None
    metadata: dict[str, str | float | bool] = {}

    def spec(self, kind: str, district: str) -> DeviceSpec:
        """Return the device that it asks to be."""
        return DeviceSpec(self.id, kind, district, self.position, self.interval, metadata=dict(self.metadata))


_DECODER = msgspec.json.Decoder(Claim)


def batch_users(batch: str) -> list[str]:
    """Return the user names of a batch at the broker."""
    return [f"{_PREFIX}{batch}-{number:02}" for number in range(_PLACES)]


def batch_of(username: str) -> str | None:
    """Return the batch that a user name is of, None if it is of none."""
    match = _USER.fullmatch(username)
    return match["batch"] if match else None


def parse_life(text: str) -> dt.timedelta:
    """Return for how long devices may claim themselves. Raises ValueError that says what is right."""
    microseconds = parse_duration(text)
    if not SECOND <= microseconds <= LONGEST_LIFE.days * DAY:
        raise ValueError(f"{text[:40]!r} is not from PT1S to P{LONGEST_LIFE.days}D; write P7D for a week")
    return dt.timedelta(microseconds=microseconds)


def decode_claim(payload: bytes) -> Claim:
    """Return the claim of a payload. Raises ClaimError that says what would be right."""
    if len(payload) > MOST_BYTES:
        raise ClaimError(f"{len(payload):,} bytes are more than a claim has; send at most {MOST_BYTES:,}")
    try:
        claim = _DECODER.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ClaimError(f'{error}; send {{"id": "lamp-17", "secret": "…"}}') from None
    if not DEVICE_ID.fullmatch(claim.id):
        raise ClaimError('the id is not 1 to 64 letters, digits, ".", "_", ":", "-", a letter or digit first')
    if reason := why_reserved(claim.id):
        raise ClaimError(f'the id "{claim.id}" is not free: {reason}')
    if not SECRET.fullmatch(claim.secret) or len(set(claim.secret)) < _DISTINCT:
        raise ClaimError(
            "the secret is weak: make one of 24 random bytes, 32 to 128 characters of base64url or hexadecimal"
        )
    texts = [*claim.metadata, *(value for value in claim.metadata.values() if isinstance(value, str))]
    if len(claim.metadata) > _MOST_METADATA or any(
        len(text) > _LONGEST_TEXT or "\0" in text for text in texts
    ):
        raise ClaimError(
            f"the metadata have more than {_MOST_METADATA} members, or a text of more than {_LONGEST_TEXT} "
            "characters or with a NUL; send less"
        )
    return claim
