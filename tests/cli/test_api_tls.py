"""The API over HTTPS, as its own process: who trusts it, what it refuses, and that it takes up what is renewed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator

import httpx2
import pytest
import uvicorn
from starlette.requests import Request

from api.access import address_of
from api.app import ApiOptions, create_app
from cli.certificates import CertificateStore, ServerCertificate
from cli.ingest_http import transport_for_devices
from cli.probes import answers_ok
from cli.renewal import Handshakes
from cli.settings import Settings, SettingsError
from cli.transport import HandshakeLoop, Transport
from stack.errors import StackError
from stack.pki import Certificate
from stack.ports import free_port
from storage.api_keys import generate_key, store_key
from storage.database import connect
from tests.cli.command import Alatau, start
from tests.conftest import Database
from tests.served import shown, trusting, until_shown

EVERYWHERE = "0.0.0.0"  # noqa: S104 - as a setting


@dataclasses.dataclass(frozen=True, slots=True)
class SecureApi:
    """A running ``alatau api`` with the certificate of a store."""

    port: int
    key: str
    store: CertificateStore
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in the store."""
        return Certificate(self.store.server_file.read_bytes()).fingerprint.replace(":", "")

    def until_said(self, text: str) -> None:
        """Wait until it has logged something."""
        assert self.process.stderr is not None
        os.set_blocking(self.process.stderr.fileno(), False)
        said, deadline = "", time.monotonic() + 10
        while text not in said:
            said += (self.process.stderr.read() or b"").decode()
            assert time.monotonic() < deadline, said
            time.sleep(0.02)


@pytest.fixture(scope="module")
async def api(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecureApi]:
    directory = tmp_path_factory.mktemp("api-tls")
    store = CertificateStore(directory / "pki")
    store.ensure_server([], dt.datetime.now(dt.UTC))
    key, port = generate_key(), free_port()
    owner = await connect(database.owner_url, application="test")
    await store_key(owner, key, "test")
    await owner.close()
    process = start(
        "api",
        ALATAU_DATA_DIR=str(directory),
        ALATAU_DATABASE_URL=database.api_url,
        ALATAU_API_PORT=str(port),
        ALATAU_TLS_CERTIFICATE=str(store.server_file),
        ALATAU_TLS_KEY=str(store.server_file),
    )
    try:
        probe = answers_ok(port, host="localhost", trust=lambda: trusting(store.authority_file))
        async with asyncio.timeout(30):
            while not await probe():
                assert process.poll() is None
                await asyncio.sleep(0.05)
        yield SecureApi(port, key, store, process)
    finally:
        process.terminate()
        process.communicate(timeout=20)


pytestmark = pytest.mark.servers


def test_our_own_commands_trust_the_authority_that_is_set(api: SecureApi, bare: Alatau) -> None:
    settings = {"ALATAU_API_URL": api.url, "ALATAU_API_KEY": api.key}
    trusted = bare(
        "query", "pm2_5", "--start", "-PT1H", **settings, ALATAU_API_CA=str(api.store.authority_file)
    )
    assert trusted.code == 0, trusted.errors
    distrusted = bare("query", "pm2_5", **settings)
    assert distrusted.code == 1
    assert "is not trusted" in distrusted.errors
    assert "set ALATAU_API_CA to the certificate" in distrusted.errors


def test_a_browser_is_told_to_come_back_by_https_only(api: SecureApi) -> None:
    with httpx2.Client(verify=trusting(api.store.authority_file)) as client:
        assert client.get(f"{api.url}/healthz").headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(api: SecureApi, version: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - the server may hang up before its alert is out
        shown(api.port, trusting(api.store.authority_file, version))
    assert shown(api.port, trusting(api.store.authority_file, "TLSv1_2"))


def test_plain_text_is_refused_where_https_is_spoken(api: SecureApi) -> None:
    with httpx2.Client() as client, pytest.raises(httpx2.TransportError):
        client.get(f"http://localhost:{api.port}/healthz")


def test_a_renewed_certificate_is_shown_and_who_was_connected_stays(api: SecureApi) -> None:
    trust, before = trusting(api.store.authority_file), api.fingerprint
    with httpx2.Client(verify=trust) as client:
        opened = client.get(f"{api.url}/healthz").extensions["network_stream"]
        assert shown(api.port, trust) == before
        assert api.store.ensure_server(["renewed.city"], dt.datetime.now(dt.UTC))
        api.process.send_signal(signal.SIGHUP)
        until_shown(api.port, trust, api.fingerprint)
        api.until_said("the new certificate is in use")
        again = client.get(f"{api.url}/healthz").extensions["network_stream"]
        assert again.get_extra_info("ssl_object") is opened.get_extra_info("ssl_object")
    # One that names no host gets the same.
    trust.check_hostname = False
    assert shown(api.port, trust, None) == api.fingerprint != before


def test_a_file_that_is_no_certificate_changes_nothing(api: SecureApi) -> None:
    trust, good = trusting(api.store.authority_file), api.store.server_file.read_bytes()
    before = api.fingerprint
    api.store.server_file.write_bytes(b"no certificate")
    try:
        api.process.send_signal(signal.SIGHUP)
        api.until_said("server.pem: The certificate is not PEM. Give")
        assert shown(api.port, trust) == before
    finally:
        api.store.server_file.write_bytes(good)
    # Noticed without a signal, too.
    assert api.store.ensure_server(["noticed.city"], dt.datetime.now(dt.UTC))
    until_shown(api.port, trust, api.fingerprint)


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.0.2.1", "api.city"])
def test_plain_text_off_the_loopback_address_is_refused(bare: Alatau, host: str) -> None:
    result = bare("api", ALATAU_API_HOST=host)
    assert result.code == 1
    assert (
        f"ALATAU_API_HOST={host} would send keys and readings in plain text: set ALATAU_TLS_C"
        in result.errors
    )
    assert "ALATAU_API_PROXY" in result.errors


def test_plain_text_of_devices_off_the_loopback_address_is_refused() -> None:
    settings = Settings(ingest_http_host=EVERYWHERE)
    with pytest.raises(
        SettingsError, match=r"ALATAU_INGEST_HTTP_HOST=0\.0\.0\.0 would send secrets and readings in plain"
    ):
        Transport.of_devices(settings, 8092)
    assert Transport.of_devices(
        Settings(ingest_http_host=EVERYWHERE, ingest_http_proxy="192.0.2.1"), 8092
    ).proxies


def test_the_first_worker_alone_listens_for_devices_and_only_where_a_port_is_set() -> None:
    port = free_port()
    settings = Settings(ingest_http_port=port)
    listening = transport_for_devices(settings, 0)
    assert listening is not None
    assert (listening.host, listening.port) == ("127.0.0.1", port)
    assert transport_for_devices(settings, 1) is None
    assert transport_for_devices(Settings(), 0) is None
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(StackError, match="telemetry over HTTP \\(ALATAU_INGEST_HTTP_PORT\\), is taken"),
    ):
        transport_for_devices(settings, 0)


@pytest.mark.parametrize("proxy", ["*", "nginx", "0.0.0.0/0", "192.0.2.1, ::/0", "192.0.2.1/24"])
def test_a_proxy_is_named_by_its_address(proxy: str) -> None:
    with pytest.raises(SettingsError, match="is no address of a proxy; give 192"):
        Transport.of_api(Settings(api_proxy=proxy))


@contextlib.asynccontextmanager
async def behind(proxy: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve an application without a database, as it is served behind a proxy, if one is declared."""
    settings = Settings(api_proxy=proxy, api_port=free_port())
    app = create_app(ApiOptions("postgresql://127.0.0.1:1/nothing"))

    @app.get("/asked-from")
    def asked_from(request: Request) -> str:
        return address_of(request)

    server = uvicorn.Server(Transport.of_api(settings).configuration(app))
    task = asyncio.create_task(server.serve(), name="test.api")
    try:
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{settings.api_port}") as client:
            yield client
    finally:
        server.should_exit = True
        await task


FORWARDED = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7", "X-Forwarded-Proto": "https"}


async def test_only_a_declared_proxy_is_believed_and_only_what_it_has_seen_itself() -> None:
    async with behind("192.0.2.0/28 127.0.0.1") as client:
        answer = await client.get("/asked-from", headers=FORWARDED)
        assert answer.json() == "198.51.100.7"  # what stands before it, anybody may have written
        assert "strict-transport-security" in answer.headers
    for proxy in ("", "192.0.2.1"):
        async with behind(proxy) as client:
            answer = await client.get("/asked-from", headers=FORWARDED)
            assert answer.json() == "127.0.0.1"
            assert "strict-transport-security" not in answer.headers


def test_who_begins_no_handshake_is_let_go(tmp_path: pathlib.Path) -> None:
    store = CertificateStore(tmp_path)
    store.ensure_server([], dt.datetime.now(dt.UTC))
    certificate = ServerCertificate(store.server_file, store.server_file)

    async def wait_for_the_end() -> bytes:
        listening = Handshakes(certificate).context()
        loop, port = asyncio.get_running_loop(), free_port()
        async with await loop.create_server(asyncio.Protocol, "127.0.0.1", port, ssl=listening):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                async with asyncio.timeout(10):
                    return await reader.read()

    with asyncio.Runner(loop_factory=lambda: HandshakeLoop(0.05)) as runner:
        assert runner.run(wait_for_the_end()) == b""
