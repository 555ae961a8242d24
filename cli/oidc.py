"""Signing in elsewhere: the settings, all or none of which are given."""

from __future__ import annotations

from api.oidc_issuer import is_safe
from api.oidc_options import OidcOptions, RulesError, read_rules
from cli.settings import Settings, SettingsError


def oidc_options(settings: Settings) -> OidcOptions | None:
    """Return how people sign in elsewhere, None where they don't. Raises SettingsError."""
    given = {
        "ALATAU_OIDC_ISSUER": settings.oidc_issuer,
        "ALATAU_OIDC_CLIENT_ID": settings.oidc_client_id,
        "ALATAU_OIDC_CLIENT_SECRET": settings.oidc_client_secret,
        "ALATAU_OIDC_ROLES": settings.oidc_roles,
        "ALATAU_PUBLIC_URL": settings.public_url,
    }
    # Where the API is found is no sign that people sign in elsewhere.
    if not any(value for name, value in given.items() if name != "ALATAU_PUBLIC_URL"):
        return None
    for name, value in given.items():
        if not value:
            raise SettingsError(f"{name} is missing; set it, or none of ALATAU_OIDC_…")
    issuer, client_id, client_secret, roles, public_url = (value or "" for value in given.values())
    for name, url in (("ALATAU_OIDC_ISSUER", issuer), ("ALATAU_PUBLIC_URL", public_url)):
        if not is_safe(url) or "?" in url:
            raise SettingsError(
                f"{name}: {url!r} is not safe; give an https:// address (http:// on loopback only)"
            )
    try:
        rules = read_rules(roles)
    except RulesError as error:
        raise SettingsError(f"ALATAU_OIDC_ROLES: {error}") from error
    return OidcOptions(issuer, client_id, client_secret, public_url, rules)
