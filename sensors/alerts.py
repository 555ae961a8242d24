"""Alerts: what every part says of them alike."""

from __future__ import annotations

import enum


class Severity(enum.StrEnum):
    """How bad it is; each is worse than those before it."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"
