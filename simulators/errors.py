"""The simulator's errors, below the kernel's root.

AlatauError
└── SimulatorError       what was asked for can't be simulated, or the broker won't have it
    └── BrokerError      the broker can't be reached or refuses the account
"""

from __future__ import annotations

from sensors.errors import AlatauError


class SimulatorError(AlatauError):
    """An option that makes no sense, or a fleet that can't be simulated."""


class BrokerError(SimulatorError):
    """No connection to the broker came about."""
