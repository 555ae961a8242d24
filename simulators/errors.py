"""The simulator's errors, below the kernel's root.

AlatauError
└── SimulatorError       what was asked for can't be simulated, or the broker won't have it
    ├── BrokerError      the broker can't be reached or refuses the account
    └── SpoolError       a device's own memory can't be used
"""

from __future__ import annotations

from sensors.errors import AlatauError


class SimulatorError(AlatauError):
    """An option that makes no sense, or a fleet that can't be simulated."""


class BrokerError(SimulatorError):
    """No connection to the broker came about."""


class SpoolError(SimulatorError):
    """The file of a device's spool is not one, is in use, or can't be written."""
