"""Signing in elsewhere: with whom, and which of their claims gives which role. The rules are written as one line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from sensors.errors import AlatauError
from storage.api_keys import WHOLE, Role, Scope

_RULE = re.compile(
    r"(?P<value>\S(?:.*?\S)?)\s*=\s*(?P<role>[a-z]+)(?:\s+district=(?P<districts>\S+))?(?:\s+kind=(?P<kinds>\S+))?"
)
EXAMPLE = "groups: alatau-admins=admin, gate-team=operator district=gate kind=noise|air_quality"


class RulesError(AlatauError):
    """A line of rules that can't be read; the text ends with what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may do, and see."""

    role: Role
    scope: Scope


@dataclasses.dataclass(frozen=True, slots=True)
class RoleRules:
    """Which value of one claim gives what; of several the first in their order. Without one nobody is let in."""

    claim: str
    grants: tuple[tuple[str, Grant], ...]

    def grant(self, claims: Mapping[str, Any]) -> Grant | None:
        """Return what these claims give, None of those that give nothing."""
        found = _find(claims, self.claim)
        values = found if isinstance(found, list) else [found]
        return next((grant for value, grant in self.grants if value in values), None)


@dataclasses.dataclass(frozen=True, slots=True)
class OidcOptions:
    """Frozen policy. ``public_url`` is where browsers find this API: the issuer sends them back there and nowhere else.

    Times are in seconds, of which those of the issuer's clock may be ``leeway`` off.
    """

    issuer: str
    client_id: str
    client_secret: str = dataclasses.field(repr=False)
    public_url: str
    rules: RoleRules
    scopes: str = "openid profile email"
    leeway: int = 30
    flow_seconds: int = 600  # to sign in there
    timeout_seconds: float = 5.0  # of one request to the issuer, with all of its answer
    keep_seconds: float = 3600.0  # what the issuer says of itself, and its keys
    again_seconds: float = 10.0  # after which an unknown key, or an issuer that failed, is asked for again
    requests_at_once: int = 10
    max_answer_bytes: int = 256 * 1024
    max_keys: int = 50

    @property
    def redirect_uri(self) -> str:
        """Where the issuer sends people back; it has to know exactly this."""
        return f"{self.public_url.rstrip('/')}/api/v1/session/oidc/callback"


def read_rules(text: str) -> RoleRules:
    """Read rules such as ``EXAMPLE``. Raises RulesError."""
    claim, _, rest = text.partition(": ")
    rules = [_read_rule(one.strip()) for one in rest.split(",") if one.strip()]
    if not claim.strip() or not rules:
        raise RulesError(f'a claim and its values are missing; write it as in "{EXAMPLE}"')
    return RoleRules(claim.strip(), tuple(rules))


def _read_rule(text: str) -> tuple[str, Grant]:
    matched = _RULE.fullmatch(text)
    if matched is None:
        raise RulesError(f'"{text}" is no rule; write it as in "{EXAMPLE}"')
    if matched["role"] not in {role.value for role in Role}:
        raise RulesError(f'"{matched["role"]}" is no role; use one of {", ".join(Role)}')
    role = Role(matched["role"])
    scope = Scope(
        *(tuple(matched[name].split("|")) if matched[name] else None for name in ("districts", "kinds"))
    )
    if role is Role.ADMIN and scope != WHOLE:
        raise RulesError(f'"{text}": an admin sees the whole city; leave out district= and kind=')
    return matched["value"], Grant(role, scope)


def _find(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by its name, or by a path such as ``realm_access.roles``."""
    if path in claims:
        return claims[path]
    first, _, rest = path.partition(".")
    inner = claims.get(first)
    return _find(inner, rest) if rest and isinstance(inner, dict) else None
