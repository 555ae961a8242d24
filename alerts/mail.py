"""Alerts by e-mail: one message for a few, a digest for many."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime as dt
import email.policy
import hashlib
import ipaddress
import re
import smtplib
import ssl
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage
from typing import Any, Self

from alerts.messages import TEST, DeliveryError, Message
from alerts.speech import text
from sensors.errors import AlatauError
from sensors.messages import Language
from storage.deliveries import Recipient

_PORTS = {"smtp": 587, "smtps": 465}
_LINES = 200  # of a digest
# What a server says of a mail's content, or of its length, in front of the text (RFC 3463): a shorter one may pass.
_OF_CONTENT = re.compile(r"5\.(6\.\d+|3\.4|2\.3)\b")
_TOO_MUCH = 552
_ENHANCED = re.compile(r"\d\.\d+\.\d+\b")
# Lines of any length are left to the encoding of the body, and no header is folded into a wrong one.
_POLICY = email.policy.SMTP


class MailError(AlatauError):
    """The mail server is described wrongly; the text says how it is right."""


@dataclasses.dataclass(frozen=True, slots=True)
class MailOptions:
    """The server that mail is handed to, and who it is from. ``is_tls``: from the first byte on; else by STARTTLS,
    without which nothing is said to a server that is not on this machine."""

    host: str
    port: int
    sender: str
    is_tls: bool = True
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    timeout_seconds: float = 10.0  # of each answer
    gather_seconds: float = 10.0

    @classmethod
    def of(cls, url: str, sender: str | None, password: str | None, tls: ssl.SSLContext | None) -> Self:
        """Return the options of smtps://user@host:465 or smtp://user@host:587. Raises MailError."""
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urllib.parse.urlsplit(""), None
        if parts.scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/"):
            raise MailError(f'"{url}" is no mail server; write smtps://user@host:465 or smtp://user@host:587')
        if parts.password is not None:
            raise MailError(
                "a password is in the address of the mail server; give it in ALATAU_SMTP_PASSWORD"
            )
        if not sender or "@" not in sender:
            raise MailError("set ALATAU_SMTP_FROM to the address that alerts are sent from")
        return cls(
            parts.hostname,
            port or _PORTS[parts.scheme],
            sender,
            parts.scheme == "smtps",
            parts.username and urllib.parse.unquote(parts.username),
            password,
            tls,
        )

    @property
    def is_here(self) -> bool:
        """Whether the server is on this machine, and nobody on the way."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class Mail:
    """Hands mail to one server, in a thread for each message: a connection is made for it, and closed after it."""

    at_once = 1000

    def __init__(self, options: MailOptions, clock: Callable[[], dt.datetime]) -> None:
        self._options = options
        self._clock = clock

    @property
    def gather_seconds(self) -> float:
        """Of a storm the first seconds are told together."""
        return self._options.gather_seconds

    async def send(self, recipient: Recipient, messages: Sequence[Message]) -> str | None:
        """Deliver messages in one mail; return whom of several the server refused. Raises DeliveryError."""
        mail = compose(messages, self._options.sender, recipient.destination.recipients, self._clock())
        try:
            refused = await asyncio.to_thread(self._hand_over, mail)
        except smtplib.SMTPRecipientsRefused as error:
            raise DeliveryError(_told(error.recipients), is_final=_are_final(error.recipients)) from error
        except smtplib.SMTPResponseException as error:
            raise _refusal(error.smtp_code, _text(error.smtp_error)) from error
        except (smtplib.SMTPException, OSError) as error:
            raise DeliveryError(str(error) or type(error).__name__) from error
        return _told(refused) if refused else None

    def _hand_over(self, mail: EmailMessage) -> dict[str, Any]:
        options = self._options
        tls = options.tls or ssl.create_default_context()
        with self._connect(tls) as server:
            server.ehlo_or_helo_if_needed()
            if not options.is_tls and (server.has_extn("starttls") or not options.is_here):
                server.starttls(context=tls)
            if options.username is not None:
                server.login(options.username, options.password or "")
            return server.send_message(mail)

    def _connect(self, tls: ssl.SSLContext) -> smtplib.SMTP:
        options = self._options
        if options.is_tls:
            return smtplib.SMTP_SSL(options.host, options.port, timeout=options.timeout_seconds, context=tls)
        return smtplib.SMTP(options.host, options.port, timeout=options.timeout_seconds)


def _told(refused: dict[str, Any]) -> str:
    return "; ".join(f"{one}: {code} {_text(text)}" for one, (code, text) in refused.items())


def _are_final(refused: dict[str, Any]) -> bool:
    # A mailbox that is full has room again (RFC 5321, 4.5.3.1.10).
    return all(500 <= code < 600 and code != _TOO_MUCH for code, _ in refused.values())


def _refusal(code: int, text: str) -> DeliveryError:
    """Return what a server's answer comes to. A policy, a password or a block list is mended, and then it arrives: only
    what is said of the content is final, and of a digest not before it is known which of its messages it is."""
    is_of_content = bool(_OF_CONTENT.match(text))
    may_be_long = code == _TOO_MUCH and not _ENHANCED.match(text)
    return DeliveryError(f"{code} {text}", is_final=is_of_content, is_of_content=is_of_content or may_be_long)


def _text(said: bytes | str) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said


def compose(
    messages: Sequence[Message], sender: str, recipients: Sequence[str], now: dt.datetime
) -> EmailMessage:
    """Return the mail of messages; made again it is the same one, by its id."""
    mail = EmailMessage(policy=_POLICY)
    domain = sender.rpartition("@")[2].strip("> ")
    mail["From"], mail["To"], mail["Date"] = sender, ", ".join(recipients), now
    mail["Message-ID"] = f"<{_id(messages)}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    if len(messages) == 1 and (alert := messages[0].alert) is not None:
        # One conversation for each alert.
        mail["References"] = f"<alert-{alert['id']}-{_began(alert)}@{domain}>"
    mail["Subject"] = _line(_subject(messages))
    mail.set_content(_body(messages))
    return mail


def _id(messages: Sequence[Message]) -> str:
    if len(messages) == 1:
        return messages[0].id
    return hashlib.sha256(" ".join(message.id for message in messages).encode()).hexdigest()[:32]


def _began(alert: Any) -> str:
    return f"{alert['since']:%Y%m%d%H%M%S}"


def _subject(messages: Sequence[Message]) -> str:
    language = messages[0].language
    if len(messages) > 1:
        counts = collections.Counter(message.type.rpartition(".")[2] for message in messages)
        states = ", ".join(
            text(language, "mail.states", count, state=text(language, f"mail.state.{state}"))
            for state, count in counts.items()
        )
        return f"[Alatau] {text(language, 'mail.changes', len(messages), states=states)}"
    if (alert := messages[0].alert) is None:
        return f"[Alatau] {text(language, 'mail.state.test')}"
    return f"[Alatau] {_how(alert, language)}: {alert['title']}"


def _how(alert: Mapping[str, Any], language: Language) -> str:
    return ", ".join(text(language, f"mail.{name}.{alert[name]}") for name in ("state", "severity"))


def _body(messages: Sequence[Message]) -> str:
    if len(messages) == 1:
        return _whole(messages[0])
    lines = [_short(message) for message in messages[:_LINES]]
    if (more := len(messages) - _LINES) > 0:
        lines.append(text(messages[0].language, "mail.more", more))
    return "\n".join(lines) + "\n"


def _short(message: Message) -> str:
    if message.type == TEST or message.alert is None:
        return text(message.language, "mail.state.test")
    alert = message.alert
    return _line(f"{_how(alert, message.language)}: {alert['title']}. {alert['sentence']}")


def _whole(message: Message) -> str:
    if (alert := message.alert) is None:
        return text(message.language, "mail.test") + "\n"
    language = message.language
    facts = {
        "state": _how(alert, language),
        "since": f"{alert['since']:%Y-%m-%d %H:%M} UTC",
        "device": alert["device"],
        "kind": alert["kind"],
        "district": alert["district"],
        "rule": alert["rule"],
        "alert": alert["id"],
    }
    names = {fact: text(language, f"mail.fact.{fact}") for fact in facts}
    width = max(map(len, names.values())) + 2
    told = [
        f"{names[fact] + ':':{width}}{_line(str(value))}"
        for fact, value in facts.items()
        if value is not None
    ]
    return "\n".join([_line(alert["sentence"]), "", *told]) + "\n"


def _line(text: str) -> str:
    """Return a text as one line: what people have named must not begin a header."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
