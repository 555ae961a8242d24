"""What a device says that registers itself: anybody who has an image of it may say it, and anything else."""

from __future__ import annotations

import contextlib
import json
import secrets
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sensors.catalogue import build_catalogue, builtin_file, validate_device
from sensors.claims import MOST_BYTES, Claim, ClaimError, batch_of, batch_users, decode_claim, parse_life
from sensors.errors import CatalogueError

CATALOGUE = build_catalogue(builtin_file("alatau"), "alatau.toml")
SECRET = "0123456789abcdefghijklmnopqrstuv"
VALID = {"id": "lamp-17", "secret": SECRET}

_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
_near = st.fixed_dictionaries(
    {"id": st.just("lamp-17") | st.text(), "secret": st.just(SECRET) | st.text()},
    optional={
        "position": st.tuples(st.floats(), st.floats()) | _values,
        "interval": st.sampled_from(["PT1M", "P" + "9" * 400 + "D", "PT"]) | st.text(),
        "metadata": st.dictionaries(st.text(), st.text() | st.booleans() | st.floats()) | _values,
        "else": _values,
    },
)


@given(st.binary() | st.builds(lambda value: json.dumps(value).encode(), _near | _values))
@example(b'{"metadata":' + b"[" * 2000)
@example(b'{"metadata":' + b'{"a":' * 800)
@example(b'{"id": "\\ud800", "secret": "x"}')
@example(b'{"id": "a", "secret": "x", "position": [1e999, 1]}')
def test_a_payload_is_a_claim_of_a_valid_device_or_refused(payload: bytes) -> None:
    with contextlib.suppress(ClaimError, CatalogueError):
        claim = decode_claim(payload)
        assert len(claim.secret) >= 32
        validate_device(claim.spec("noise", "gate"), CATALOGUE)


def test_a_claim_says_what_the_device_is() -> None:
    more = {"position": [77.0, 43.4], "interval": "PT5M", "metadata": {"pole": 3.0, "is_new": True}}
    claim = decode_claim(json.dumps(VALID | more).encode())
    assert claim == Claim("lamp-17", SECRET, (77.0, 43.4), "PT5M", {"pole": 3.0, "is_new": True})
    spec = claim.spec("noise", "gate")
    assert (spec.id, spec.kind, spec.district, spec.simulated) == ("lamp-17", "noise", "gate", False)


@pytest.mark.parametrize("make", [secrets.token_urlsafe, secrets.token_hex])
def test_a_secret_of_24_random_bytes_is_strong(make: Any) -> None:
    for _ in range(1000):
        decode_claim(json.dumps(VALID | {"secret": make(24)}).encode())


@pytest.mark.parametrize(
    "secret", ["", SECRET[:31], "a" * 32, "abcdefg" * 5, "x" * 129, SECRET + " ", SECRET + "é"]
)
def test_a_weak_secret_is_refused_with_what_is_strong(secret: str) -> None:
    with pytest.raises(ClaimError, match="24 random bytes"):
        decode_claim(json.dumps(VALID | {"secret": secret}).encode())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"id": "alatau-ingest"}, "is not free"),
        ({"id": "telegraf"}, "before or behind"),
        ({"id": "lamp/17"}, "letters, digits"),
        ({"kind": "noise"}, "kind"),
        ({"simulated": True}, "simulated"),
        ({"metadata": {str(n): 1 for n in range(21)}}, "send less"),
        ({"metadata": {"a": "x" * 201}}, "send less"),
        ({"metadata": {"a": "\0"}}, "send less"),
        ({"metadata": {"a": "x" * MOST_BYTES}}, "at most 4,096"),
    ],
)
def test_what_a_claim_may_not_say_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ClaimError, match=told):
        decode_claim(json.dumps(VALID | changes).encode())


def test_the_user_names_of_a_batch_are_its_own() -> None:
    for batch in ("a", "lamps-2026", "lamps-00", "x" * 32):
        users = batch_users(batch)
        assert len(set(users)) == 16
        assert {batch_of(user) for user in users} == {batch}
    for other in ("lamp-17", "alatau-claims", "alatau-claim-a", "alatau-claim-a-16", "alatau-claim-A-00"):
        assert batch_of(other) is None


@pytest.mark.parametrize("text", ["PT0S", "-P1D", "P91D", "P1M", ""])
def test_a_life_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_life(text)
