"""How a city that ``up`` starts is reached: TLS of its broker and its API, and the addresses to give to others."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import pathlib
import ssl
from collections.abc import Callable

from broker.config import SecureListener
from cli.certificates import certificate_store, server_certificate, supplied_certificate
from cli.local import Secure
from cli.probes import address_of
from cli.renewal import Renewal
from cli.settings import Settings, SettingsError
from stack.addresses import is_loopback, reached_at
from stack.errors import StackError

_ISSUED_EVERY_SECONDS = 3600


class Reach:
    """Plain text stays on the loopback address; what listens elsewhere speaks TLS, with one certificate."""

    def __init__(self, settings: Settings, broker: str | None) -> None:
        """Make the certificate, unless one is supplied; ``broker`` is the address of an external one.

        Raises SettingsError, StackError.
        """
        supplied = supplied_certificate(settings) is not None
        self._settings = settings
        self._broker = broker
        self.https = supplied or not (is_loopback(settings.api_host) or settings.api_proxy)
        self._ingest_https = supplied or not (
            is_loopback(settings.ingest_http_host) or settings.ingest_http_proxy
        )
        self._names = [
            *reached_at(settings.mqtt_address),
            *reached_at(settings.api_host),
            *reached_at(settings.ingest_http_host),
        ]
        self._supplied = supplied
        self._certificate = server_certificate(settings, self._names, dt.datetime.now(dt.UTC))
        self.secure = None
        if broker is None:
            listener = SecureListener(
                settings.mqtts_port, settings.mqtt_address, settings.mqtt_certificates_port
            )
            authority = certificate_store(settings).ensure_authority(dt.datetime.now(dt.UTC))
            self.secure = Secure(listener, self._certificate, authority)

    async def renew(self, take_up: Callable[[], None], told: Callable[[str], None]) -> None:
        """Have the broker take up what was renewed, by us when it is due or by others; for ever.

        The API does so by itself.
        """
        renewal = Renewal(self._certificate, take_up, told)
        while True:
            try:
                self._issue()
            except (SettingsError, StackError, OSError) as error:
                told(f"the certificate can't be renewed: {error}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ISSUED_EVERY_SECONDS):
                    await renewal.run()

    def _issue(self) -> None:
        if not self._supplied:
            certificate_store(self._settings).ensure_server(self._names, dt.datetime.now(dt.UTC))

    @property
    def mqtt_url(self) -> str:
        """Where people and devices find the broker: at its TLS, if that leaves this machine."""
        settings = self._settings
        if self._broker is not None:
            return self._broker
        if is_loopback(settings.mqtt_address):
            return f"mqtt://127.0.0.1:{settings.mqtt_port}"
        return f"mqtts://{self._name(settings.mqtt_address)}:{settings.mqtts_port}"

    @property
    def mqtt_ca(self) -> pathlib.Path | None:
        """Whom they trust; None for whom the system trusts."""
        return self._authority(self._settings.mqtt_ca, ours=self._broker is None)

    @property
    def api_url(self) -> str:
        """Where they find the API."""
        settings = self._settings
        if not self.https:
            return f"http://{_in_url(address_of(settings.api_host))}:{settings.api_port}"
        return f"https://{self._name(settings.api_host)}:{settings.api_port}"

    @property
    def api_ca(self) -> pathlib.Path | None:
        """Whom they trust; None for whom the system trusts."""
        return self._authority(self._settings.api_ca, ours=True) if self.https else None

    @property
    def api_environment(self) -> dict[str, str]:
        """What the API's process is told of it."""
        told = {"ALATAU_MQTT_PUBLIC_URL": self._settings.mqtt_public_url or self.mqtt_url}
        if self.mqtt_ca is not None:
            told["ALATAU_MQTT_CA"] = str(self.mqtt_ca)
        return told | (self._certificate_files if self.https else {})

    @property
    def ingest_environment(self) -> dict[str, str]:
        """What ingest's process is told of its port for devices."""
        return self._certificate_files if self._ingest_https else {}

    @property
    def _certificate_files(self) -> dict[str, str]:
        return {
            "ALATAU_TLS_CERTIFICATE": str(self._certificate.certificate_file),
            "ALATAU_TLS_KEY": str(self._certificate.key_file),
        }

    def only_the_api(self) -> ssl.SSLContext | None:
        """Return how to ask our own API on this machine: trusting its very certificate, whatever name that has."""
        if not self.https:
            return None
        context = ssl.create_default_context(cafile=self._certificate.certificate_file)
        context.verify_flags = ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
        return context

    def _authority(self, given: pathlib.Path | None, *, ours: bool) -> pathlib.Path | None:
        if self._supplied or not ours:
            return given
        return certificate_store(self._settings).authority_file

    def _name(self, address: str) -> str:
        """Return under which name one that listens at an address is known to others, and to its certificate."""
        known = self._certificate.names
        possible = [name for name in reached_at(address) if name in known]
        possible += [name for name in known if not name.startswith("*")]
        return _in_url((possible or reached_at(address))[0])


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
