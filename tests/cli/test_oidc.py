"""The settings of signing in elsewhere: all or none, and nothing that is not safe."""

from __future__ import annotations

import pytest

from api.oidc_options import EXAMPLE, Grant, read_rules
from cli.oidc import oidc_options
from cli.settings import SettingsError, load_settings
from storage.api_keys import WHOLE, Role, Scope

GIVEN = {
    "ALATAU_OIDC_ISSUER": "https://login.city.example/realms/city",
    "ALATAU_OIDC_CLIENT_ID": "alatau",
    "ALATAU_OIDC_CLIENT_SECRET": "secret-of-the-client",
    "ALATAU_OIDC_ROLES": EXAMPLE,
    "ALATAU_PUBLIC_URL": "https://alatau.city.example/",
}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_people_sign_in_elsewhere_only_where_that_is_set(given: pytest.MonkeyPatch) -> None:
    options = oidc_options(load_settings())
    assert options is not None
    assert options.redirect_uri == "https://alatau.city.example/api/v1/session/oidc/callback"
    assert "secret-of-the-client" not in repr(options)
    for name in GIVEN:
        if name.startswith("ALATAU_OIDC_"):
            given.delenv(name)
    assert oidc_options(load_settings()) is None


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_missing_is_named(given: pytest.MonkeyPatch, name: str) -> None:
    given.delenv(name)
    with pytest.raises(SettingsError, match=f"^{name} is missing; set it"):
        oidc_options(load_settings())


@pytest.mark.parametrize("name", ["ALATAU_OIDC_ISSUER", "ALATAU_PUBLIC_URL"])
@pytest.mark.parametrize(
    ("url", "is_safe"),
    [
        ("http://login.city.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://localhost@evil.example", False),
        ("login.city.example", False),
        ("https://login.city.example/?a=b", False),
        ("https://login.city.example:no", False),
        ("https://login.city.example:8443/realms/city", True),
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:8080", True),
        ("http://localhost:8080", True),
    ],
)
def test_only_https_is_taken_but_on_this_machine(
    given: pytest.MonkeyPatch, name: str, url: str, is_safe: bool
) -> None:
    given.setenv(name, url)
    if is_safe:
        assert oidc_options(load_settings()) is not None
    else:
        with pytest.raises(SettingsError, match=f"{name}: .* give an https:// address"):
            oidc_options(load_settings())


OPERATOR = Grant(Role.OPERATOR, Scope(("gate",), ("noise", "air_quality")))


@pytest.mark.parametrize(
    ("claims", "grant"),
    [
        ({"groups": ["a", "alatau-admins", "gate-team"]}, Grant(Role.ADMIN, WHOLE)),
        ({"groups": "gate-team"}, OPERATOR),
        ({"groups": ["gate-team2", "Gate-team"]}, None),
        ({"groups": {"gate-team": True}}, None),
        ({"groups": [["gate-team"]]}, None),
        ({"other": ["alatau-admins"]}, None),
        ({}, None),
    ],
)
def test_the_first_rule_that_fits_gives_the_role(claims: dict[str, object], grant: Grant | None) -> None:
    assert read_rules(EXAMPLE).grant(claims) == grant


def test_a_claim_may_be_within_another_and_a_value_may_have_spaces_and_equal_signs() -> None:
    rules = read_rules("realm_access.roles: cn=city analysts=analyst, Everybody = viewer kind=noise")
    assert rules.grant({"realm_access": {"roles": ["cn=city analysts"]}}) == Grant(Role.ANALYST, WHOLE)
    assert rules.grant({"realm_access": {"roles": ["Everybody"]}}) == Grant(
        Role.VIEWER, Scope(None, ("noise",))
    )
    assert rules.grant({"realm_access": ["roles"]}) is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("groups", "are missing"),
        ("groups: ", "are missing"),
        (": a=viewer", "are missing"),
        ("groups: admins", "is no rule"),
        ("groups: a=viewer district=", "is no rule"),
        ("groups: admins=root", '"root" is no role; use one of viewer'),
        ("groups: admins=admin district=gate", "an admin sees the whole city"),
    ],
)
def test_rules_that_can_not_be_read_are_refused_with_what_to_do(
    given: pytest.MonkeyPatch, text: str, part: str
) -> None:
    given.setenv("ALATAU_OIDC_ROLES", text)
    with pytest.raises(SettingsError, match=r"^ALATAU_OIDC_ROLES: ") as raised:
        oidc_options(load_settings())
    assert part in str(raised.value)
