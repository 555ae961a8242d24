"""What is shown to be pasted where a gateway is set up is well formed; the one of Mosquitto runs in test_speech.py."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import yaml

from broker.gateway_guides import GatewayAccount, guide
from broker.snippets import Address, Trust
from broker.speech import Speech
from cli.speeches import SPEECHES
from sensors.topics import Topics

TRUSTING = Address("mqtts://mqtt.city", Topics(), Trust("/pki/ca.pem", ""))
ADDRESSES = [
    TRUSTING,
    Address("mqtts://mqtt.city:8884", Topics()),
    Address("mqtt://127.0.0.1:1883", Topics()),
]
NAMES = [speech.name for speech in SPEECHES if not speech.is_own]


def of(name: str, address: Address = TRUSTING) -> str:
    speech = next((one for one in SPEECHES if one.name == name), Speech(name, (f"{name}/#",), is_own=False))
    return guide(address, GatewayAccount("lora", speech, "s3cr-t_"))


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: str(address.url))
@pytest.mark.parametrize("name", [*NAMES, "zigbee2mqtt", "any_other"])
def test_every_guide_has_the_whole_account_and_whom_to_trust(name: str, address: Address) -> None:
    text = of(name, address)
    for needed in (
        f"alatau-gateway-{name}-lora",
        "alatau-gw-lora",
        "s3cr-t_",
        address.host,
        str(address.port),
    ):
        assert needed in text, needed
    assert "$" not in text
    assert ("/pki/ca.pem" in text) == (address.trust is not None)


def test_guides_in_a_language_are_such() -> None:
    chirpstack: dict[str, Any] = tomllib.loads(of("chirpstack"))["integration"]
    assert chirpstack["enabled"] == ["mqtt"]
    assert chirpstack["mqtt"]["server"] == "ssl://mqtt.city:8883"
    assert chirpstack["mqtt"]["ca_cert"] == "/pki/ca.pem"
    gateway = json.loads(of("thingsboard"))["thingsboard"]
    assert (gateway["host"], gateway["port"]) == ("mqtt.city", 8883)
    assert gateway["security"]["caCert"] == "/pki/ca.pem"
    zigbee = yaml.safe_load(of("zigbee2mqtt"))["mqtt"]
    assert (zigbee["server"], zigbee["ca"]) == ("mqtts://mqtt.city:8883", "/pki/ca.pem")
    assert zigbee["client_id"] == "alatau-gw-lora"


def test_a_program_without_an_authority_of_ours_trusts_those_of_its_system() -> None:
    public = ADDRESSES[1]
    assert "ca-certificates" in tomllib.loads(of("chirpstack", public))["integration"]["mqtt"]["ca_cert"]
    # Without one, the gateway of ThingsBoard would trust anybody.
    assert "ca-certificates" in json.loads(of("thingsboard", public))["thingsboard"]["security"]["caCert"]


def test_a_broker_hands_on_every_topic_of_the_format() -> None:
    lines = of("sensorthings").splitlines()
    (speech,) = (one for one in SPEECHES if one.name == "sensorthings")
    assert [line for line in lines if line.startswith("topic ")] == [
        f"topic {topic} out 1" for topic in speech.topics
    ]
