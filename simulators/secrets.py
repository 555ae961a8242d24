"""Secrets of simulated devices, derived from one fleet secret so that none has to be stored."""

from __future__ import annotations

import base64
import hashlib
import hmac


def device_secret(fleet_secret: str, device_id: str) -> str:
    """Return the device's secret: URL-safe base64 of HMAC-SHA256(fleet secret, device id), 43 characters."""
    digest = hmac.digest(fleet_secret.encode(), device_id.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
