"""Certificates that change while servers run: noticed, taken up, and where they are of no use, left aside."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from cli.certificates import ServerCertificate
from cli.settings import SettingsError
from stack.errors import StackError

# Looking costs two questions to the file system.
LOOK_SECONDS = 2.0


class Renewal:
    """Has the certificate taken up whenever its files are others than before; who can't keeps the one it has.

    ``take_up`` raises SettingsError, StackError or OSError, and then has changed nothing: it is tried again. ``told``
    hears what came of it.
    """

    def __init__(
        self, certificate: ServerCertificate, take_up: Callable[[], None], told: Callable[[str], None]
    ) -> None:
        self._certificate = certificate
        self._take_up = take_up
        self._told = told
        self._state = certificate.state()
        self._refusal = ""

    async def run(self) -> None:
        """Look every few seconds, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Look whether the files have changed, and have them taken up."""
        # Before they are read, so that what changes meanwhile is seen the next time.
        if (state := self._certificate.state()) == self._state:
            return
        try:
            self._take_up()
        except (SettingsError, StackError, OSError) as error:
            refusal = f"the new certificate is not used, the one before stays: {error}"
            if refusal != self._refusal:
                self._told(refusal)
            self._refusal = refusal
        else:
            self._state, self._refusal = state, ""
            self._told("the new certificate is in use")


class Handshakes:
    """TLS 1.2 or later with the certificate as it was last taken up; connections that there are go on."""

    def __init__(self, certificate: ServerCertificate) -> None:
        """Take up the certificate. Raises SettingsError."""
        self._certificate = certificate
        self._newest = certificate.context()

    def context(self) -> ssl.SSLContext:
        """Return the context to listen with."""
        listening = self._newest
        # Changed in place, a context would be broken between its new certificate and its new key.
        listening.sni_callback = self._choose
        return listening

    def renewal(self, told: Callable[[str], None]) -> Renewal:
        """Return what looks whether the certificate has changed, and takes it up."""
        return Renewal(self._certificate, self.take_up, told)

    def take_up(self) -> None:
        """Show the certificate as it is now from the next handshake on. Raises SettingsError."""
        self._newest = self._certificate.context()

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest
