"""What a server shows of itself to one that connects by TLS."""

from __future__ import annotations

import hashlib
import pathlib
import socket
import ssl
import time

_SECONDS = 10.0


def trusting(authority: pathlib.Path, version: str | None = None) -> ssl.SSLContext:
    """Return how to connect with trust in an authority alone; with an old version of TLS, if one is named."""
    context = ssl.create_default_context(cafile=authority)
    if version is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")  # else our own side would be the one that refuses
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    return context


def shown(port: int, context: ssl.SSLContext, name: str | None = "localhost") -> str:
    """Return the SHA-256 of the certificate that a server of this machine shows to a new connection."""
    with (
        socket.create_connection(("127.0.0.1", port), _SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        certificate = secure.getpeercert(binary_form=True)
    assert certificate is not None
    return hashlib.sha256(certificate).hexdigest()


def until_shown(port: int, context: ssl.SSLContext, fingerprint: str) -> None:
    """Wait until a server shows a certificate to new connections."""
    deadline = time.monotonic() + _SECONDS
    while shown(port, context) != fingerprint:
        assert time.monotonic() < deadline, "the certificate was not taken up"
        time.sleep(0.02)
