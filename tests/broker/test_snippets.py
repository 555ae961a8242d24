"""What is shown to be pasted is whole and well formed in each language; it is run in tests/dashboard."""

from __future__ import annotations

import ast
import json
import re
import shlex

import pytest
from pycparser import c_parser

from broker.snippets import Account, Address, Language, Trust, snippet, snippets
from sensors.catalogue import Catalogue
from sensors.topics import Topics

PEM = "subject=CN = Alatau\n-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUe0\nTt9w==\n-----END CERTIFICATE-----\n"
ADDRESSES = {
    "of its own authority": Address("mqtts://mqtt.city", Topics(), Trust("ca.pem", PEM)),
    "of the system's authority": Address("mqtts://mqtt.city:8884", Topics()),
    "of this machine": Address("mqtt://127.0.0.1:1883", Topics()),
}
# Of what ESP-IDF and Arduino declare, the names of types: a parser of C must know them.
_TYPES = """
typedef int bool, int32_t, size_t, esp_event_base_t, esp_mqtt_client_handle_t, esp_mqtt_event_id_t;
typedef long int64_t;
typedef struct { int data_len; char *data; } *esp_mqtt_event_handle_t;
typedef struct { int broker; } esp_mqtt_client_config_t;
typedef struct { int server; } esp_sntp_config_t;
"""


@pytest.fixture(params=ADDRESSES)
def address(request: pytest.FixtureRequest) -> Address:
    return ADDRESSES[request.param]


@pytest.fixture(params=["air_quality", "waste_bin", "payments"])
def account(request: pytest.FixtureRequest, catalogue: Catalogue) -> Account:
    return Account("air-1", "air-1~2", "s3cr-t_", catalogue.kind_of[request.param], 90.0)


def test_every_snippet_has_the_devices_own_account_and_all_metrics(
    address: Address, account: Account
) -> None:
    assert [one.language for one in snippets(address, account)] == list(Language)
    for one in snippets(address, account):
        for needed in (account.device, account.user, account.secret, address.host, str(address.port)):
            assert needed in one.text, (one.title, needed)
        for metric in account.kind.metrics:
            assert metric.name in one.text, (one.title, metric.name)
        assert "alatau/v1/air-1" in one.text
        assert "$" not in one.text.replace("${IDF_PATH}", "")


def test_the_line_for_the_shell_is_words_and_its_message_json(address: Address, account: Account) -> None:
    program, *words = shlex.split(snippet(address, account, Language.SHELL).text)
    assert program == "mosquitto_pub"
    message = json.loads(words[words.index("-m") + 1])
    assert list(message) == list(account.kind.columns)
    for metric in account.kind.metrics:
        assert metric.minimum <= message[metric.name] <= metric.maximum
    assert ("--cafile" in words) == (address.trust is not None)
    assert ("--tls-use-os-certs" in words) == (address.is_tls and address.trust is None)


@pytest.mark.parametrize("language", [Language.PYTHON, Language.MICROPYTHON])
def test_programs_of_python_are_parsed(address: Address, account: Account, language: Language) -> None:
    ast.parse(snippet(address, account, language).text)


@pytest.mark.parametrize("language", [Language.ESP_IDF, Language.ARDUINO])
def test_programs_of_c_are_parsed(address: Address, account: Account, language: Language) -> None:
    text = snippet(address, account, language).text
    defined = re.findall(r"^#define (\w+) (.+)$", text, re.MULTILINE)
    text = re.sub(r"^#.*$", "", _without_comments(text), flags=re.MULTILINE)
    for name, value in (*defined, ("PRId64", '"lld"')):
        text = re.sub(rf"\b{name}\b", value, text)
    c_parser.CParser().parse(_TYPES + text.replace("= {};", "= {0};"))


def _without_comments(text: str) -> str:
    return re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*', lambda found: found.group(1) or "", text)


def test_a_board_is_given_the_first_certificate_without_what_stands_around_it(catalogue: Catalogue) -> None:
    account = Account("a", "a", "s", catalogue.kind_of["noise"], 60.0)
    trusting = Address("mqtts://x", Topics(), Trust("ca.pem", PEM + PEM))
    for language in (Language.MICROPYTHON, Language.ESP_IDF, Language.ARDUINO):
        text = snippet(trusting, account, language).text
        assert text.count("MIIBszCCAVmgAwIBAgIUe0") == 1
        assert "subject=" not in text
