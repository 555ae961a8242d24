"""Passwords: which will do, and how they are hashed."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import re
import secrets
import unicodedata

import argon2
from argon2.exceptions import VerificationError

SHORTEST = 12  # characters
LONGEST = 1024  # bytes: what is hashed of a stranger is bounded
_DISTINCT = 5
# What is tried first is made of these, whatever digits and signs stand between.
_OBVIOUS = re.compile(
    "(pass|word|wort|phrase|qwert(y|z)?(uiop)?|asdf(gh)?(jkl)?|zxcv(bn)?m?|letmein|welcome|admin|istrator|change|me|"
    "secret|default|login|user|root|test|temp|iloveyou|monkey|dragon|football|sunshine|princess|abc|alatau|almaty|city|"
    "пароль|йцукен|админ|привет|алатау|алматы)*"
)
_SIGNS_FOR_LETTERS = str.maketrans("0@$", "oas")
_NO_LETTERS = re.compile(r"[\W\d_]")
_ENDS = re.compile(r"^[\W\d_]+|[\W\d_]+$")


@dataclasses.dataclass(frozen=True, slots=True)
class Hashing:
    """Parameters of argon2id. Source: OWASP, Password Storage Cheat Sheet: 19 MiB, two passes, one lane."""

    memory_kib: int = 19 * 1024
    passes: int = 2
    lanes: int = 1

    @property
    def _hasher(self) -> argon2.PasswordHasher:
        return argon2.PasswordHasher(self.passes, self.memory_kib, self.lanes)

    def hash(self, password: str) -> str:
        """Return the hash of a password, which names these parameters; takes some hundredths of a second."""
        return self._hasher.hash(_encoded(password))

    def matches(self, stored: str, password: str) -> bool:
        """Return whether a password is the one of a hash, whatever its parameters are; takes as long as making one.

        Raises argon2.exceptions.InvalidHashError of what is no hash.
        """
        try:
            return self._hasher.verify(stored, _encoded(password))
        except VerificationError:
            return False

    def is_outdated(self, stored: str) -> bool:
        """Return whether a hash was made with other parameters."""
        return self._hasher.check_needs_rehash(stored)

    def nobodys(self) -> str:
        """Return a hash that is no password's, and takes as long as any to be compared with."""
        salt, hash_ = (base64.b64encode(secrets.token_bytes(n)).decode().rstrip("=") for n in (16, 32))
        return f"$argon2id$v=19$m={self.memory_kib},t={self.passes},p={self.lanes}${salt}${hash_}"


def generate_password() -> str:
    """Return a password of 120 random bits, in four parts that can be read aloud."""
    text = base64.b32encode(secrets.token_bytes(15)).decode().lower()
    return "-".join(text[start : start + 6] for start in range(0, 24, 6))


def objection(password: str, name: str) -> str | None:
    """Return what is wrong with a new password, and what to do; None of one that will do."""
    if len(password) < SHORTEST:
        return f"it has fewer than {SHORTEST} characters; take several words"
    if len(password.encode(errors="surrogatepass")) > LONGEST:
        return f"it is longer than {LONGEST} bytes; take a shorter one"
    plain, own = _plain(password), _plain(name)
    if plain in (own, own.partition("@")[0]):
        return "it is the name; take another"
    if _is_obvious(plain, own):
        return "it is among those that are tried first; take several words that have nothing to do with each other"
    return None


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()


def _is_obvious(text: str, name: str) -> bool:
    steps = {ord(after) - ord(before) for before, after in itertools.pairwise(text)}
    is_row = steps <= {1, -9} or steps <= {-1, 9}  # 123456789012
    is_repeated = text in (text + text)[1:-1]
    letters, own = _letters(text), _letters(name)
    left = letters.replace(own, "") if own else letters
    is_made_of_them = bool(letters) and _OBVIOUS.fullmatch(left) is not None
    return len(set(text)) < _DISTINCT or is_row or is_repeated or is_made_of_them


def _letters(text: str) -> str:
    """Return the letters of a text, such as password of P@ssw0rd!2026."""
    return _NO_LETTERS.sub("", _ENDS.sub("", text).translate(_SIGNS_FOR_LETTERS))


def _encoded(password: str) -> bytes:
    # However a keyboard composes a letter, it is the same one. Source: RFC 8265, OpaqueString.
    return unicodedata.normalize("NFC", password).encode(errors="surrogatepass")
