"""Webhooks against a real receiver: what is sent, who is believed, and where nothing is sent to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import hashlib
import hmac
import pathlib
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from alerts.messages import DeliveryError
from alerts.webhook import WebhookOptions, Webhooks, sign
from sensors.destinations import generate_webhook_secret
from sensors.networks import Network, parse_networks
from stack.pki import Authority
from tests.alerts.receivers import Hook, hook, listening
from tests.alerts.samples import NOW, SECRET, as_json, message, trial, webhook
from tests.docs.markdown import blocks

HERE = parse_networks("127.0.0.0/8")
UNIX = NOW.timestamp()


@contextlib.asynccontextmanager
async def sending(
    allowed: Sequence[Network] = HERE, tls: ssl.SSLContext | None = None, seconds: float = 10.0
) -> AsyncIterator[Webhooks]:
    async with Webhooks(WebhookOptions(tuple(allowed), timeout_seconds=seconds), lambda: UNIX, tls) as sender:
        yield sender


@pytest.fixture
async def receiver() -> AsyncIterator[Hook]:
    async with hook() as receiver:
        yield receiver


async def refusal(url: str, **how: Any) -> DeliveryError:
    """Return the error that a message to an address ends with."""
    async with sending(**how) as sender:
        with pytest.raises(DeliveryError) as caught:
            await sender.send(webhook(url), [message()])
    return caught.value


async def test_a_message_has_the_alert_in_an_envelope_and_its_headers(receiver: Hook) -> None:
    sent = message()
    async with sending() as sender:
        await sender.send(webhook(receiver.url), [sent])
    (received,) = receiver.received
    assert (received.path, received.headers["content-type"]) == ("/hook", "application/json")
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert received.content == {
        "id": sent.id,
        "type": "alert.firing",
        "timestamp": "2026-01-15T12:00:00Z",
        "data": as_json(sent.alert),
    }
    assert received.id == sent.id
    assert received.headers["webhook-timestamp"] == str(int(UNIX))


def test_a_signature_is_that_of_the_libraries_of_standard_webhooks() -> None:
    """The example in the documentation of Svix, who began it."""
    secret, message_id = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign([secret], message_id, 1614265330, b'{"test": 2432232314}') == expected


async def test_each_secret_signs_id_time_and_body(receiver: Hook) -> None:
    old = generate_webhook_secret()
    async with sending() as sender:
        await sender.send(webhook(receiver.url, SECRET, old), [trial()])
    (received,) = receiver.received
    signed = f"{received.id}.{int(UNIX)}.".encode() + received.body
    expected = [
        "v1,"
        + base64.b64encode(hmac.new(base64.b64decode(one[6:]), signed, hashlib.sha256).digest()).decode()
        for one in (SECRET, old)
    ]
    assert received.headers["webhook-signature"].split(" ") == expected


async def test_the_documented_program_tells_what_is_ours_from_what_is_not(receiver: Hook) -> None:
    async with sending() as sender:
        await sender.send(webhook(receiver.url), [message()])
    (received,) = receiver.received
    (block,) = [one for one in blocks("python") if "def verify" in one.text]
    program: dict[str, Any] = {}
    exec(block.text, program)  # noqa: S102 - our own documentation

    def verify(body: bytes = received.body, now: float = UNIX, **changed: str) -> bool:
        headers = received.headers | {name.replace("_", "-"): value for name, value in changed.items()}
        return bool(program["verify"](SECRET, headers, body, now))

    assert verify()
    assert verify(webhook_signature=f"v1,AAAA {received.headers['webhook-signature']}")
    assert not verify(body=received.body + b" ")
    assert not verify(webhook_id="another")
    assert not verify(webhook_timestamp=str(int(UNIX) + 1))
    assert not verify(now=UNIX + 301)
    assert not verify(now=UNIX - 301)
    assert not verify(webhook_signature="")
    assert not program["verify"](generate_webhook_secret(), received.headers, received.body, UNIX)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed(receiver: Hook, status: str) -> None:
    receiver.answer, receiver.header = status, f"Location: {receiver.url}/elsewhere\r\n"
    error = await refusal(receiver.url)
    assert "redirects are not followed" in str(error)
    assert len(receiver.received) == 1


async def test_of_an_answer_only_the_beginning_is_told(receiver: Hook) -> None:
    receiver.answer, receiver.body = "500 Sorry", b"the disk is full " + b"x" * 5_000_000
    error = await refusal(receiver.url)
    assert str(error).startswith("status 500: the disk is full xx")
    assert len(str(error)) < 250
    assert not error.is_final


async def test_who_is_gone_is_not_asked_again_and_who_is_busy_says_for_how_long(receiver: Hook) -> None:
    receiver.answer = "410 Gone"
    assert (await refusal(receiver.url)).is_final
    for given, after in (("120", 120.0), ("9999999999", 3600.0), ("soon", 0.0), ("-1", 0.0)):
        receiver.answer, receiver.header = "429 Slowly", f"Retry-After: {given}\r\n"
        error = await refusal(receiver.url)
        assert (error.after, error.is_final) == (after, False)


async def test_who_does_not_answer_is_left_after_a_while(receiver: Hook) -> None:
    receiver.held = asyncio.Event()
    assert str(await refusal(receiver.url, seconds=0.05)) == "no answer in 0.05 s"


async def test_who_answers_without_end_or_nonsense_fails() -> None:
    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000)
            await writer.drain()

    async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        await writer.drain()
        writer.close()

    for serve in (endless, nonsense):
        async with listening(serve) as port:
            assert not (await refusal(f"http://127.0.0.1:{port}/")).is_final


async def test_an_address_of_a_private_network_is_not_connected_to(receiver: Hook) -> None:
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::]", "2130706433", "127.1"):
        error = await refusal(f"https://{host}:{receiver.port}/", allowed=())
        assert "ALATAU_WEBHOOK_NETWORKS" in str(error), host
    # Not in plain text either, were another network allowed.
    error = await refusal(receiver.url, allowed=parse_networks("10.0.0.0/8"))
    assert "is in no network of ALATAU_WEBHOOK_NETWORKS" in str(error)
    assert receiver.received == []


async def test_a_name_that_comes_to_lead_inside_is_not_connected_to(
    receiver: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is looked up for each connection, and what was found is what is connected to."""
    looked_up = []

    async def lookup(host: str, port: int, **_: Any) -> list[Any]:
        looked_up.append(host)
        places = ["93.184.215.14", "127.0.0.1"] if host == "both.example" else ["127.0.0.1"]
        return [(2, 1, 6, "", (place, port)) for place in places]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
    for name in ("rebound.example", "both.example"):
        error = await refusal(f"https://{name}:{receiver.port}/", allowed=())
        assert f"{name} (127.0.0.1) is of a private network" in str(error)
        assert looked_up.count(name) == 1
    async with sending() as sender:
        await sender.send(webhook(f"http://rebound.example:{receiver.port}/hook"), [message()])
    assert looked_up.count("rebound.example") == 2
    assert receiver.received[0].headers["host"] == f"rebound.example:{receiver.port}"


async def test_an_environment_with_a_proxy_changes_nothing(
    receiver: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with sending() as sender:
        await sender.send(webhook(receiver.url), [message()])
    assert len(receiver.received) == 1


async def test_only_who_shows_a_certificate_of_that_name_is_told(tmp_path: pathlib.Path) -> None:
    now = dt.datetime.now(dt.UTC)
    authority = Authority.create("test", now)
    (tmp_path / "server.pem").write_bytes(authority.issue_server(["localhost"], now))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "server.pem")
    trust = ssl.create_default_context(cadata=authority.certificate.decode())
    async with hook(tls) as receiver:
        right = f"https://localhost:{receiver.port}/"
        assert "certificate verify failed" in str(await refusal(right))
        wrong_name = await refusal(f"https://127.0.0.1:{receiver.port}/", tls=trust)
        assert re.search("IP address mismatch", str(wrong_name))
        async with sending(tls=trust) as sender:
            await sender.send(webhook(right), [message()])
    assert len(receiver.received) == 1
