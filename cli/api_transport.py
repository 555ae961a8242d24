"""How the API is listened to: HTTPS, or plain HTTP on the loopback address and behind a proxy that was declared."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import signal
import sys
from collections.abc import Iterator
from typing import Any

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from api.serving import serving
from cli.certificates import supplied_certificate
from cli.renewal import Handshakes, Renewal
from cli.settings import Settings, SettingsError
from stack.addresses import is_loopback

log = structlog.get_logger("api")


@dataclasses.dataclass(frozen=True, slots=True)
class ApiTransport:
    """Where the API listens, whose word of who asks it takes, and with which certificate."""

    host: str
    port: int
    proxies: list[str]
    handshakes: Handshakes | None
    handshake_seconds: float = 10.0  # before which a connection is in no other limit

    @classmethod
    def of(cls, settings: Settings) -> ApiTransport:
        """Read the settings. Raises SettingsError when keys and readings would pass a network in plain text."""
        certificate = supplied_certificate(settings)
        proxies = declared_proxies(settings)
        if certificate is None and not proxies and not is_loopback(settings.api_host):
            raise SettingsError(
                f"ALATAU_API_HOST={settings.api_host} would send keys and readings in plain text: set "
                "ALATAU_TLS_CERTIFICATE and ALATAU_TLS_KEY (`alatau pki server` makes both in one file), "
                "or ALATAU_API_PROXY to the address of a proxy in front of it that speaks TLS"
            )
        handshakes = None if certificate is None else Handshakes(certificate)
        return cls(settings.api_host, settings.api_port, proxies, handshakes)

    def configuration(self, app: FastAPI) -> uvicorn.Config:
        """Return how an application is served."""
        handshakes = self.handshakes
        return serving(
            app,
            host=self.host,
            port=self.port,
            proxy_headers=bool(self.proxies),
            forwarded_allow_ips=self.proxies,
            ssl_context_factory=None
            if handshakes is None
            else lambda _config, _default: handshakes.context(),
        )

    def serve(self, app: FastAPI) -> None:
        """Serve until a signal, and take up a renewed certificate meanwhile. Exits with 3 if it can't listen."""
        server = uvicorn.Server(self.configuration(app))
        runner = asyncio.Runner(loop_factory=lambda: HandshakeLoop(self.handshake_seconds))
        with contextlib.suppress(KeyboardInterrupt), runner:
            runner.run(self._serve(server))
        if not server.started:
            sys.exit(3)

    async def _serve(self, server: uvicorn.Server) -> None:
        if self.handshakes is None:
            await server.serve()
            return
        renewal = self.handshakes.renewal(log.warning)
        watch = asyncio.create_task(renewal.run(), name="api.certificate")
        try:
            with _renewed_on_hangup(renewal):
                await server.serve()
        finally:
            watch.cancel()


class HandshakeLoop(uvloop.Loop):
    """Waits for the handshake of a connection as long as is said; uvicorn lets it wait for a minute."""

    def __init__(self, handshake_seconds: float) -> None:
        super().__init__()
        self._handshake_seconds = handshake_seconds

    async def create_server(  # type: ignore[override]  # which has overloads
        self, *arguments: Any, **more: Any
    ) -> asyncio.AbstractServer:
        if more.get("ssl") is not None:
            more["ssl_handshake_timeout"] = self._handshake_seconds
        return await super().create_server(*arguments, **more)


@contextlib.contextmanager
def _renewed_on_hangup(renewal: Renewal) -> Iterator[None]:
    # On a terminal the signal says that it was closed.
    if sys.stderr.isatty():
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, renewal.look)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def declared_proxies(settings: Settings) -> list[str]:
    """Return the addresses and networks of the proxy in front of the API. Raises SettingsError."""
    given = settings.api_proxy.replace(",", " ").split()
    for proxy in given:
        try:
            network = ipaddress.ip_network(proxy)
        except ValueError:
            network = None
        if network is None or network.prefixlen == 0:
            raise SettingsError(
                f'ALATAU_API_PROXY: "{proxy}" is no address of a proxy; give 192.0.2.1, or 192.0.2.0/28'
            )
    return given
