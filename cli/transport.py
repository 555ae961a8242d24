"""How HTTP is listened to: by TLS, or plain on the loopback address and behind a proxy that was declared."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import structlog
import uvicorn
import uvloop
from starlette.applications import Starlette

from api.serving import serving
from cli.certificates import supplied_certificate
from cli.renewal import Handshakes, Renewal
from cli.settings import Settings, SettingsError
from stack.addresses import is_loopback

log = structlog.get_logger("transport")


@dataclasses.dataclass(frozen=True, slots=True)
class Transport:
    """Where the API, or ingest for devices, listens, whose word of who asks it takes, and with which certificate."""

    host: str
    port: int
    proxies: list[str]
    handshakes: Handshakes | None

    @classmethod
    def of_api(cls, settings: Settings) -> Transport:
        """Read the API's settings. Raises SettingsError when keys and readings would pass a network in plain text."""
        return cls._of(settings, "API", "keys", settings.api_host, settings.api_port, settings.api_proxy)

    @classmethod
    def of_devices(cls, settings: Settings, port: int) -> Transport:
        """Read those of ingest's port for devices. Raises SettingsError when secrets would pass a network so."""
        host, proxy = settings.ingest_http_host, settings.ingest_http_proxy
        return cls._of(settings, "INGEST_HTTP", "secrets", host, port, proxy)

    @classmethod
    def _of(cls, settings: Settings, name: str, what: str, host: str, port: int, proxy: str) -> Transport:
        certificate = supplied_certificate(settings)
        proxies = _declared(f"ALATAU_{name}_PROXY", proxy)
        if certificate is None and not proxies and not is_loopback(host):
            raise SettingsError(
                f"ALATAU_{name}_HOST={host} would send {what} and readings in plain text: set "
                "ALATAU_TLS_CERTIFICATE and ALATAU_TLS_KEY (`alatau pki server` makes both in one file), "
                f"or ALATAU_{name}_PROXY to the address of a proxy in front of it that speaks TLS"
            )
        handshakes = None if certificate is None else Handshakes(certificate)
        return cls(host, port, proxies, handshakes)

    def configuration(self, app: Starlette) -> uvicorn.Config:
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

    def serve(self, app: Starlette) -> None:
        """Serve until a signal, and take up a renewed certificate meanwhile. Exits with 3 if it can't listen."""
        server = uvicorn.Server(self.configuration(app))
        runner = asyncio.Runner(loop_factory=HandshakeLoop)
        with contextlib.suppress(KeyboardInterrupt), runner:
            runner.run(self._serve(server))
        if not server.started:
            sys.exit(3)

    async def _serve(self, server: uvicorn.Server) -> None:
        async with self.renewing():
            await server.serve()

    @contextlib.asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Take up a renewed certificate while the block runs, also on SIGHUP."""
        if self.handshakes is None:
            yield
            return
        renewal = self.handshakes.renewal(log.warning)
        watch = asyncio.create_task(renewal.run(), name="transport.certificate")
        try:
            with _renewed_on_hangup(renewal):
                yield
        finally:
            watch.cancel()


class HandshakeLoop(uvloop.Loop):
    """Waits for the handshake of a connection, which is in no other limit, as long as is said; uvicorn would wait for a
    minute."""

    def __init__(self, handshake_seconds: float = 10.0) -> None:
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


def _declared(name: str, proxies: str) -> list[str]:
    """Return the addresses and networks of the proxy in front of us. Raises SettingsError that names the setting."""
    given = proxies.replace(",", " ").split()
    for proxy in given:
        try:
            network = ipaddress.ip_network(proxy)
        except ValueError:
            network = None
        if network is None or network.prefixlen == 0:
            raise SettingsError(
                f'{name}: "{proxy}" is no address of a proxy; give 192.0.2.1, or 192.0.2.0/28'
            )
    return given
