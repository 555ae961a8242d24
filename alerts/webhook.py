"""Webhooks: alerts by HTTP, signed as Standard Webhooks (https://www.standardwebhooks.com) says.

An address is entered by people, so that it may be any. It is looked at where the connection is made, by what the name
leads to then: what leads into a private network is not connected to, whatever it led to before.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hmac
import socket
import ssl
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

import httpcore2

from alerts.messages import DeliveryError, Message
from sensors.destinations import private_address, webhook_key
from sensors.networks import Address, Network, is_reachable, parse_ip
from storage.deliveries import Recipient

_EXCERPT_BYTES = 200
_LONGEST_WAIT = 3600.0  # that an answer may ask for


@dataclasses.dataclass(frozen=True, slots=True)
class WebhookOptions:
    """``allowed`` are networks that are not of the internet and may be sent to all the same, also without TLS."""

    allowed: tuple[Network, ...] = ()
    timeout_seconds: float = 10.0  # of one request, from the name to the answer's head
    most_connections: int = 20


def sign(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header ``webhook-signature``, with each of the secrets."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(webhook_key(secret), signed, "sha256") for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


class Webhooks:
    """Sends messages to webhooks, each on a connection of its own; ``async with`` opens and closes it.

    Redirects are not followed, and no proxy of the environment is used. ``clock`` returns Unix seconds.
    """

    at_once = 1
    gather_seconds = 0.0

    def __init__(
        self, options: WebhookOptions, clock: Callable[[], float], tls: ssl.SSLContext | None = None
    ) -> None:
        self._options = options
        self._clock = clock
        # The system's authorities, or those of SSL_CERT_FILE.
        tls = tls or ssl.create_default_context()
        self._pools = {
            scheme: httpcore2.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=options.most_connections,
                max_keepalive_connections=0,  # the name is looked up each time
                network_backend=_Guard(options.allowed, is_public_allowed=scheme == "https"),
            )
            for scheme in ("https", "http")
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._pools.values():
            await pool.aclose()

    async def send(self, recipient: Recipient, messages: Sequence[Message]) -> None:
        """Deliver a message. Raises DeliveryError."""
        for message in messages:
            await self._post(recipient.destination.url or "", recipient.secrets, message)

    async def _post(self, url: str, secrets: Sequence[str], message: Message) -> None:
        body, timestamp = message.encode(), int(self._clock())
        headers = {
            "Host": urllib.parse.urlsplit(url).netloc,
            "User-Agent": "Alatau",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Accept-Encoding": "identity",
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secrets, message.id, timestamp, body),
        }
        pool = self._pools[urllib.parse.urlsplit(url).scheme]
        try:
            async with (
                asyncio.timeout(self._options.timeout_seconds),
                pool.stream("POST", url, headers=list(headers.items()), content=body) as response,
            ):
                if not 200 <= response.status < 300:
                    raise _refusal(response, await _excerpt(response))
        except TimeoutError:
            raise DeliveryError(f"no answer in {self._options.timeout_seconds:g} s") from None
        except (
            httpcore2.NetworkError,
            httpcore2.TimeoutException,
            httpcore2.ProtocolError,
            OSError,
        ) as error:
            raise DeliveryError(str(error) or type(error).__name__) from error


async def _excerpt(response: httpcore2.Response) -> str:
    """Return the beginning of an answer; the rest is not waited for."""
    read = b""
    async for part in response.aiter_stream():
        read += part
        if len(read) >= _EXCERPT_BYTES:
            break
    return read[:_EXCERPT_BYTES].decode(errors="replace")


def _refusal(response: httpcore2.Response, excerpt: str) -> DeliveryError:
    headers = {name.lower(): value for name, value in response.headers}
    waited = headers.get(b"retry-after", b"").decode(errors="replace")
    detail = f": {excerpt}" if excerpt else ""
    if 300 <= response.status < 400:
        detail = "; redirects are not followed, give the address that it leads to"
    return DeliveryError(
        f"status {response.status}{detail}",
        is_final=response.status == 410,  # who answers so wants no more
        after=min(float(waited), _LONGEST_WAIT) if waited.isdecimal() else 0.0,
    )


class _Guard(httpcore2.AsyncNetworkBackend):
    """Makes connections to addresses that may be connected to, and to no others."""

    def __init__(self, allowed: Sequence[Network], *, is_public_allowed: bool) -> None:
        self._allowed = allowed
        self._is_public_allowed = is_public_allowed
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - theirs
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to what a name leads to, if all of it may be connected to. Raises DeliveryError."""
        addresses = await _resolve(host, port)
        for address in addresses:
            if not self._may_connect(address):
                raise DeliveryError(
                    private_address(f"{host} ({address})")
                    if self._is_public_allowed
                    else f"{host} ({address}) is in no network of ALATAU_WEBHOOK_NETWORKS; write https://"
                )
        error: Exception | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except httpcore2.ConnectError as one:
                error = one
        raise error or DeliveryError(f"{host} has no address")

    def _may_connect(self, address: Address) -> bool:
        if self._is_public_allowed:
            return is_reachable(address, self._allowed)
        return any(address in network for network in self._allowed)

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)


async def _resolve(host: str, port: int) -> list[Address]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = (parse_ip(str(place[0]).partition("%")[0]) for *_, place in found)
    return [address for address in addresses if address is not None]
