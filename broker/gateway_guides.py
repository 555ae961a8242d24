"""What to paste where a gateway is set up, with its own account in it."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
import string

from broker.snippets import Address
from broker.speech import Speech
from sensors.gateways import gateway_client_id, gateway_user

# Where a program that trusts no authority by itself finds those of the system.
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_WITH_A_GUIDE = ("chirpstack", "things_stack", "sparkplug", "zigbee2mqtt", "thingsboard")


@dataclasses.dataclass(frozen=True, slots=True)
class GatewayAccount:
    """A gateway of a format with the secret that it has just got."""

    name: str
    speech: Speech
    secret: str

    @property
    def user(self) -> str:
        """Its user name at the broker."""
        return gateway_user(self.speech.name, self.name)

    @property
    def client_id(self) -> str:
        """The one client id that it is let in with."""
        return gateway_client_id(self.name)


def guide(address: Address, account: GatewayAccount) -> str:
    """Return what to paste into the configuration of a gateway; of a format without one of its own, that of a broker
    which hands on what it is sent."""
    format_name = account.speech.name
    name = format_name if format_name in _WITH_A_GUIDE else "bridge"
    return _template(name).substitute(_pieces(address, account))


@functools.cache
def _template(name: str) -> string.Template:
    file = importlib.resources.files("broker").joinpath("templates", f"gateway_{name}.in")
    return string.Template(file.read_text())


def _pieces(address: Address, account: GatewayAccount) -> dict[str, object]:
    host = f"[{address.host}]" if ":" in address.host else address.host
    place = f"{host}:{address.port}"
    plain = {
        "host": address.host,
        "client_id": account.client_id,
        "user": account.user,
        "secret": account.secret,
        "paho_url": f"{'ssl' if address.is_tls else 'tcp'}://{place}",
    }
    url = f"{'mqtts' if address.is_tls else 'mqtt'}://{place}"
    return {
        # Texts of JSON are such of TOML and YAML alike, as long as they are ASCII.
        **{name: json.dumps(text) for name, text in plain.items()},
        **{f"plain_{name}": text for name, text in plain.items()},
        "url": url,
        "url_text": json.dumps(url),
        "port": address.port,
        "is_tls": "yes" if address.is_tls else "no",
        "bridge_topics": "".join(f"topic {topic} out 1\n" for topic in account.speech.topics),
        **_trust(address),
    }


def _trust(address: Address) -> dict[str, str]:
    names = ("toml_trust", "yaml_trust", "json_trust", "bridge_trust")
    if not address.is_tls:
        return dict.fromkeys(names, "") | {"trust_file": "none"}
    # Those of its own machine; an authority of ours has to be copied there.
    file = address.trust.file if address.trust else _AUTHORITIES
    return {
        "toml_trust": f"ca_cert = {json.dumps(file)}\n",
        "yaml_trust": f"  ca: {json.dumps(file)}\n",
        "json_trust": f',\n      "caCert": {json.dumps(file)}',
        "bridge_trust": f"bridge_cafile {file}\n",
        "trust_file": file if address.trust else "of a public authority",
    }
