"""Alerts by e-mail, against a real mail server."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import pathlib
import ssl
from typing import Any

import pytest

from alerts.mail import Mail, MailError, MailOptions, compose
from alerts.messages import DeliveryError, Message
from sensors.messages import Language
from stack.pki import Authority
from tests.alerts.receivers import Mailbox, listening, mailbox
from tests.alerts.samples import NOW, mail, message, trial

SENDER = "alatau@example.org"


def mailing(box: Mailbox, **more: Any) -> Mail:
    """Return who hands mail to a server of this machine, without TLS."""
    options = MailOptions("127.0.0.1", box.port, SENDER, **{"is_tls": False, **more})
    return Mail(options, lambda: NOW)


async def refused(box: Mailbox, *recipients: str, **more: Any) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await mailing(box, **more).send(mail(*recipients), [message()])
    return caught.value


async def test_a_mail_says_what_is_wrong_where_and_since_when() -> None:
    sent = message()
    async with mailbox() as box:
        assert await mailing(box).send(mail("duty@example.org", "chief@example.org"), [sent]) is None
        (received,) = box.mails
    assert box.recipients == ["duty@example.org", "chief@example.org"]
    assert received["Subject"] == "[Alatau] firing, critical: PM2.5 is high at air-1"
    assert (received["From"], received["Message-ID"]) == (SENDER, f"<{sent.id}@example.org>")
    assert received["Auto-Submitted"] == "auto-generated"
    assert received["Date"].datetime == NOW
    text = received.get_content().replace("\r\n", "\n")
    assert text.startswith("PM2.5 at air-1 is 163 µg/m³, above 150 for 10 minutes.\n")
    for fact in ("Since:    2026-01-15 11:50 UTC", "District: gate", "Alert:    17"):
        assert fact in text


def composed(*messages: Message) -> Any:
    return compose(messages, SENDER, ["duty@example.org"], NOW)


def test_what_becomes_of_an_alert_is_one_conversation() -> None:
    first, last, other = (composed(one) for one in (message(17), message(17, "resolved"), message(18)))
    assert first["References"] == last["References"] != other["References"]
    assert first["Message-ID"] != last["Message-ID"]


def test_the_same_mail_made_again_has_the_same_id() -> None:
    some = [message(number) for number in range(5)]
    assert composed(*some)["Message-ID"] == composed(*some)["Message-ID"] != composed(*some[1:])["Message-ID"]


def test_a_storm_is_one_digest_of_bounded_length() -> None:
    storm = [message(n, "resolved" if n % 3 == 0 else "firing") for n in range(300)]
    digest = composed(*storm)
    assert digest["Subject"] == "[Alatau] 300 changes of alerts: 100 resolved, 200 firing"
    lines = digest.get_content().splitlines()
    assert len(lines) == 201
    assert lines[1].startswith("firing, critical: PM2.5 is high at air-1. PM2.5 at air-1 is 163")
    assert lines[-1] == "and 100 more; GET /api/v1/alerts lists them"


def test_no_name_of_anything_begins_a_header_or_a_line() -> None:
    evil = "x\r\nBcc: everybody@example.org\n\n<script>"
    made = composed(message(title=evil, sentence=evil, device=evil))
    assert made["Bcc"] is None
    assert made["Subject"] == "[Alatau] firing, critical: x Bcc: everybody@example.org <script>"
    assert not any(line.startswith("Bcc") for line in made.get_content().splitlines())
    assert made.get_content_type() == "text/plain"


def test_a_mail_is_in_the_language_of_its_destination() -> None:
    told = message(title="PM2.5 150,0 µg/m³ шегінен жоғары: air-1", sentence="Сөйлем.")
    one = composed(dataclasses.replace(told, language=Language.KAZAKH))
    assert one["Subject"] == "[Alatau] белсенді, өте маңызды: PM2.5 150,0 µg/m³ шегінен жоғары: air-1"
    lines = one.get_content().splitlines()
    assert lines[0] == "Сөйлем."
    assert "Құрылғы:  air-1" in lines
    assert "Ереже:    pm2_5-day" in lines
    storm = [
        dataclasses.replace(message(n, "resolved" if n < 2 else "firing"), language=Language.RUSSIAN)
        for n in range(221)
    ]
    digest = composed(*storm)
    assert digest["Subject"] == "[Alatau] 221 изменение в тревогах: завершено: 2, активно: 219"
    assert digest.get_content().splitlines()[-1] == "и ещё 21; все перечисляет GET /api/v1/alerts"


async def test_a_test_says_that_it_is_one() -> None:
    async with mailbox() as box:
        await mailing(box).send(mail(), [trial()])
    assert box.mails[0]["Subject"] == "[Alatau] a test"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("test", dt.datetime.now(dt.UTC))


@pytest.fixture
def tls(authority: Authority, tmp_path: pathlib.Path) -> ssl.SSLContext:
    """Of a server at 127.0.0.1."""
    (tmp_path / "mail.pem").write_bytes(authority.issue_server(["127.0.0.1"], dt.datetime.now(dt.UTC)))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "mail.pem")
    return context


@pytest.mark.parametrize("is_tls", [True, False], ids=["smtps", "starttls"])
async def test_a_password_is_told_to_a_trusted_server_alone(
    tls: ssl.SSLContext, authority: Authority, *, is_tls: bool
) -> None:
    trust = ssl.create_default_context(cadata=authority.certificate.decode())
    account = {"username": "alatau", "password": "secret", "is_tls": is_tls}
    async with mailbox(tls if is_tls else None) as box:
        box.tls = None if is_tls else tls
        assert "certificate verify failed" in str(await refused(box, **account))
        assert box.users == []
        await mailing(box, tls=trust, **account).send(mail(), [message()])
    assert box.users == ["\0alatau\0secret"]
    assert box.encrypted == [True]


async def test_a_server_elsewhere_that_offers_no_tls_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with mailbox() as box:
        monkeypatch.setattr(MailOptions, "is_here", property(lambda _: False))
        error = await refused(box, username="alatau", password="secret")
    assert "STARTTLS" in str(error)
    assert (box.users, box.mails) == ([], [])


@pytest.mark.parametrize(
    ("says", "is_final"),
    [
        ({"DATA": "550 not wanted"}, False),
        ({"DATA": "554 5.7.1 on a block list"}, False),
        ({"DATA": "554 5.6.0 no mail at all"}, True),
        ({"DATA": "552 5.3.4 too long"}, True),
        ({"DATA": "552 5.2.2 mailbox full"}, False),
        ({"DATA": "451 later"}, False),
        ({"MAIL": "552 too long"}, False),
        ({"MAIL": "550 5.7.60 you may not send as this"}, False),
        ({"EHLO": "554 no", "HELO": "554 no"}, False),
        ({"RCPT": "552 mailbox full"}, False),
        ({"RCPT": "550 nobody"}, True),
        ({"RCPT": "450 greylisted"}, False),
        ({"MAIL": "421 too busy"}, False),
        ({"AUTH": "535 wrong"}, False),
    ],
    ids=str,
)
async def test_what_will_never_arrive_is_told_from_what_may(says: dict[str, str], *, is_final: bool) -> None:
    async with mailbox(says=says) as box:
        error = await refused(box, username="alatau", password="secret")
    assert error.is_final is is_final
    assert next(iter(says.values())) in str(error)


async def test_one_of_two_that_is_refused_keeps_the_other_from_nothing() -> None:
    async with mailbox(says={"RCPT TO:<gone@example.org>": "550 no such user"}) as box:
        note = await mailing(box).send(mail("duty@example.org", "gone@example.org"), [message()])
    assert note == "gone@example.org: 550 no such user"
    assert len(box.mails) == 1


async def test_a_server_that_is_away_or_silent_is_tried_again() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as port:
        box = Mailbox(port=port)
        assert not (await refused(box, timeout_seconds=0.05)).is_final
    assert "refused" in str(await refused(box))


def test_the_mail_server_is_described_by_an_address() -> None:
    options = MailOptions.of("smtps://duty%40example.org@mail.example", SENDER, "secret", None)
    assert (options.host, options.port, options.is_tls) == ("mail.example", 465, True)
    assert options.username == "duty@example.org"
    assert MailOptions.of("smtp://mail.example:2525", SENDER, None, None).port == 2525
    for url, sender, why in (
        ("mail.example", SENDER, "write smtps://"),
        ("smtp://mail.example:port", SENDER, "write smtps://"),
        ("smtps://user:secret@mail.example", SENDER, "ALATAU_SMTP_PASSWORD"),
        ("smtps://mail.example", None, "ALATAU_SMTP_FROM"),
    ):
        with pytest.raises(MailError, match=why):
            MailOptions.of(url, sender, None, None)
