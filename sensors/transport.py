"""Why a connection to the broker failed, in words that say what to do."""

from __future__ import annotations

import ssl


def explain(error: OSError) -> str:
    """Return what an error of connecting means; for TLS, with the setting that mends it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({error.verify_message}); "
            "set ALATAU_MQTT_CA to the certificate of the authority that signed it"
        )
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason}); mqtts:// needs the broker's port for TLS"
    return str(error)
