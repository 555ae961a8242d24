"""How a device sends its first readings: a line for the shell, and programs to paste, with its own account in them."""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib.resources
import json
import math
import shlex
import string
import urllib.parse
from collections.abc import Sequence

from sensors.kinds import Kind, Metric
from sensors.topics import Channel, Topics

_TLS_PORT, _PLAIN_PORT = 8883, 1883
# Of a kind with very many metrics: an example is to be read.
_MOST_METRICS = 20
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class Language(enum.StrEnum):
    """What a snippet is written in."""

    SHELL = "shell"
    PYTHON = "python"
    MICROPYTHON = "micropython"
    ESP_IDF = "esp-idf"
    ARDUINO = "arduino"


@dataclasses.dataclass(frozen=True, slots=True)
class Trust:
    """Whom a device trusts: the authority's certificate ``pem``, which a program on a computer finds in ``file``."""

    file: str
    pem: str


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where devices find the broker; without ``trust`` TLS is of an authority that the system knows."""

    url: str
    topics: Topics
    trust: Trust | None = None

    @property
    def host(self) -> str:
        """Its name or address."""
        return self._parts.hostname or "127.0.0.1"

    @property
    def port(self) -> int:
        """Its port."""
        return self._parts.port or (_TLS_PORT if self.is_tls else _PLAIN_PORT)

    @property
    def is_tls(self) -> bool:
        """Whether it speaks TLS."""
        return self._parts.scheme in ("mqtts", "ssl")

    @property
    def _parts(self) -> urllib.parse.SplitResult:
        return urllib.parse.urlsplit(self.url)


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """A device with the secret that it has just got; ``interval`` is seconds between readings."""

    device: str
    user: str
    secret: str
    kind: Kind
    interval: float


@dataclasses.dataclass(frozen=True, slots=True)
class Snippet:
    """A program, and the name of a file to put it in; the shell's line has none."""

    language: Language
    title: str
    file: str | None
    text: str


_PROGRAMS = {
    Language.PYTHON: ("Python", "device.py"),
    Language.MICROPYTHON: ("MicroPython", "main.py"),
    Language.ESP_IDF: ("ESP-IDF", "main.c"),
    Language.ARDUINO: ("Arduino", "device.ino"),
}


def snippets(address: Address, account: Account) -> list[Snippet]:
    """Return how to send readings with an account, in every language."""
    return [snippet(address, account, language) for language in Language]


def snippet(address: Address, account: Account, language: Language) -> Snippet:
    """Return how to send readings with an account in one language."""
    if language is Language.SHELL:
        return Snippet(language, "mosquitto_pub", None, shell_line(address, account))
    title, file = _PROGRAMS[language]
    text = _template(language).substitute(_pieces(address, account))
    return Snippet(language, title, file, text)


def shell_line(address: Address, account: Account) -> str:
    """Return a command that sends a first reading."""
    message = {metric.name: _example(metric) for metric in _metrics(account)}
    arguments = [
        *("mosquitto_pub", "-h", address.host, "-p", str(address.port)),
        *_shell_trust(address),
        *("-V", "5", "-q", "1", "-i", account.device, "-u", account.user, "-P", account.secret),
        *("-t", address.topics.of(account.device, Channel.TELEMETRY), "-m", json.dumps(message)),
    ]
    return shlex.join(arguments)


def _shell_trust(address: Address) -> list[str]:
    if not address.is_tls:
        return []
    return ["--cafile", address.trust.file] if address.trust else ["--tls-use-os-certs"]


@functools.cache
def _template(language: Language) -> string.Template:
    name = f"{language.value.replace('-', '_')}.in"
    return string.Template(importlib.resources.files("broker").joinpath("templates", name).read_text())


def _pieces(address: Address, account: Account) -> dict[str, object]:
    metrics = _metrics(account)
    topic = address.topics.of(account.device, Channel.TELEMETRY).removesuffix(f"/{Channel.TELEMETRY.value}")
    # Literals of JSON are such of Python and C alike, as long as they are ASCII.
    texts = {
        "topic": topic,
        "device_text": account.device,
        "user": account.user,
        "secret": account.secret,
        "host": address.host,
        "url": f"{'mqtts' if address.is_tls else 'mqtt'}://{_in_url(address.host)}:{address.port}",
    }
    return {
        **{name: json.dumps(text) for name, text in texts.items()},
        "device": account.device,
        "port": address.port,
        "interval": max(1, round(account.interval)),
        "python_values": _python_values(metrics),
        "c_size": 64 + sum(len(metric.name) + 32 for metric in metrics),
        **_c_values(metrics, "c", 20),
        **_c_values(metrics, "arduino", 18),
        **_python_trust(address),
        **_micropython_trust(address),
        **_c_trust(address),
    }


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _metrics(account: Account) -> Sequence[Metric]:
    return account.kind.metrics[:_MOST_METRICS]


def _example(metric: Metric) -> float:
    """Return a value within a metric's range that looks like one."""
    return next(
        (value for value in (20.0, 1.0, 0.0) if metric.minimum <= value <= metric.maximum), metric.minimum
    )


def _range(metric: Metric) -> str:
    return f"{metric.unit}, {metric.minimum:g} to {metric.maximum:g}"


def _python_values(metrics: Sequence[Metric]) -> str:
    return "\n".join(
        f"        {json.dumps(metric.name)}: {_example(metric)},  # {_range(metric)}" for metric in metrics
    )


def _c_values(metrics: Sequence[Metric], prefix: str, indent: int) -> dict[str, str]:
    space = " " * indent
    formats = [f'{space}", \\"{metric.name}\\": %.{_decimals(metric)}f"' for metric in metrics]
    last = len(metrics) - 1
    values = [
        f"{space}{_example(metric)}{');' if number == last else ','}  // {_range(metric)}"
        for number, metric in enumerate(metrics)
    ]
    return {f"{prefix}_formats": "\n".join(formats), f"{prefix}_values": "\n".join(values)}


def _decimals(metric: Metric) -> int:
    return max(0, math.ceil(-math.log10(metric.resolution))) if metric.resolution > 0 else 3


def _python_trust(address: Address) -> dict[str, str]:
    if not address.is_tls:
        return {"python_tls": ""}
    file = json.dumps(address.trust.file) if address.trust else ""
    return {"python_tls": f"client.tls_set({file})\n"}


_MICROPYTHON_TRUST = """\
trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
trust.verify_mode = ssl.CERT_REQUIRED
"""


def _micropython_trust(address: Address) -> dict[str, str]:
    if not address.is_tls:
        return dict.fromkeys(("micropython_imports", "micropython_tls", "micropython_ssl"), "")
    if address.trust is None:
        imports = "import ssl\n"
        trusting = (
            "# A board knows no authorities: give it the certificate, in DER, of the one that the broker's is of.\n"
            'with open("ca.der", "rb") as file:\n    trust.load_verify_locations(cadata=file.read())\n'
        )
    else:
        imports = "import binascii\nimport ssl\n"
        lines = "\n".join(f"    {json.dumps(line)}" for line in _first_certificate(address.trust.pem)[1:-1])
        trusting = (
            f"AUTHORITY = (\n{lines}\n)\ntrust.load_verify_locations(cadata=binascii.a2b_base64(AUTHORITY))\n"
        )
    return {
        "micropython_imports": imports,
        "micropython_tls": _MICROPYTHON_TRUST + trusting,
        "micropython_ssl": ", ssl=trust",
    }


_NEWLINE = "\n"
_C_AUTHORITY = "// The authority of the broker's certificate.\nstatic const char AUTHORITY[] ="


def _c_trust(address: Address) -> dict[str, str]:
    names = ("c_include", "c_authority", "c_trust", "arduino_include", "arduino_trust")
    pieces = dict.fromkeys(names, "")
    if not address.is_tls:
        return pieces
    if address.trust is None:
        field, value = "crt_bundle_attach", "esp_crt_bundle_attach"
        pieces["c_include"] = pieces["arduino_include"] = '#include "esp_crt_bundle.h"\n'
    else:
        field, value = "certificate", "AUTHORITY"
        lines = "\n".join(
            f"    {json.dumps(line + _NEWLINE)}" for line in _first_certificate(address.trust.pem)
        )
        pieces["c_authority"] = f"\n{_C_AUTHORITY}\n{lines};\n"
    pieces["c_trust"] = f"        .broker.verification.{field} = {value},\n"
    pieces["arduino_trust"] = f"  config.broker.verification.{field} = {value};\n"
    return pieces


def _first_certificate(pem: str) -> list[str]:
    """Return the lines of the first certificate of a file, without what stands around it."""
    lines = [line.strip() for line in pem.splitlines()]
    return lines[lines.index(_BEGIN) : lines.index(_END) + 1]
