"""Each profile that comes with us reads what its model sends, ``tests/cases/profiles/<profile>.toml``.

A case of LoRaWAN is what the model's codec says, as ``object``: both servers are given it. Others are whole messages.
"""

from __future__ import annotations

import json
import pathlib
import tomllib
from typing import Any

import pytest

from ingest.decoders.table import NAMES
from ingest.explaining import Explainer
from sensors.catalogue import Catalogue
from sensors.profiles import Profile, builtin_profiles, check_profile
from sensors.times import SECOND, parse_timestamp
from sensors.topics import Topics

CASES = pathlib.Path(__file__).parents[1] / "cases" / "profiles"
RECEIVED = "2026-01-01T00:00:00Z"
EUI = "24e124aa00000007"


def messages(said: dict[str, Any], profile: Profile) -> list[tuple[str, bytes]]:
    """Return what the model publishes: its codec's object, in its server's message, or as it is."""
    if "object" not in said:
        return [(said["topic"], payload.strip().encode()) for payload in said["payloads"]]
    decoded = json.loads(said["object"])
    if profile.format == "chirpstack":
        content: dict[str, Any] = {
            "time": RECEIVED,
            "deviceInfo": {"devEui": EUI},
            "fPort": 2,
            "object": decoded,
        }
        return [(f"application/1/device/{EUI}/event/up", json.dumps(content).encode())]
    uplink = {"f_port": 2, "decoded_payload": decoded, "received_at": RECEIVED}
    content = {"end_device_ids": {"device_id": "a-7", "dev_eui": EUI}, "uplink_message": uplink}
    return [("v3/city/devices/a-7/up", json.dumps(content).encode())]


@pytest.mark.parametrize("profile", builtin_profiles(), ids=lambda profile: profile.name)
def test_a_profile_reads_what_its_model_sends(profile: Profile, catalogue: Catalogue) -> None:
    said = tomllib.loads((CASES / f"{profile.name.removesuffix('-tts')}.toml").read_text())
    found = Explainer(Topics()).explain(
        messages(said, profile),
        received=parse_timestamp(RECEIVED) / SECOND,
        catalogue=catalogue,
        profile=profile,
    )
    assert not found.has_faults, found.as_json()["refused"]
    stored: dict[str, float] = {}
    for one in found.readings:
        stored |= one.stored or {}
    assert stored == pytest.approx(said["expected"]), said["why"]
    assert set(stored) == {field.metric for field in profile.fields}, "a field that no case has"


def test_each_profile_is_valid_has_a_source_and_is_of_a_known_format(catalogue: Catalogue) -> None:
    for profile in builtin_profiles():
        check_profile(profile, catalogue, NAMES)
        assert profile.source, profile.name
    names = [profile.name for profile in builtin_profiles()]
    assert len(names) == len(set(names))
    assert {path.stem for path in CASES.glob("*.toml")} <= set(names)
