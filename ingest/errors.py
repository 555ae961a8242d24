"""Errors of the broker session.

SessionError       the connection is gone, or could not be made: try again
└── RefusedError   the broker does not let us in: waiting alone won't mend it, but we keep trying
"""

from sensors.errors import AlatauError


class SessionError(AlatauError):
    """The connection to the broker is gone or could not be made."""


class RefusedError(SessionError):
    """The broker refused the account or the subscription."""
