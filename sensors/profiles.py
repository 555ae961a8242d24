"""Profiles of device models: which field of a payload is which metric, in which unit. Data, checked like rules."""

from __future__ import annotations

import functools
import importlib.resources
import math
import re
from collections.abc import Collection

import msgspec

from sensors.catalogue import Catalogue
from sensors.errors import AlatauError, did_you_mean
from sensors.ucum import UnitError, check_unit, convert

PROFILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MOST_FIELDS = 200


class ProfileError(AlatauError):
    """A profile is not valid: names the profile, the field and what would be right."""


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field of the payload and the metric that it is: ``value × scale + offset``, in ``unit`` (UCUM).

    Without a unit, it is in the one that the payload itself says, or else in the metric's.
    """

    field: str
    metric: str
    unit: str | None = None
    scale: float = 1.0
    offset: float = 0.0


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"fields": "map"}):
    """What devices of one model send in one format, as readings of one kind; ``source`` says where that is written."""

    name: str
    title: str
    format: str
    kind: str
    fields: tuple[Field, ...]
    source: str = ""


class ProfileFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of profiles."""

    profile: tuple[Profile, ...] = ()


def check_profile(profile: Profile, catalogue: Catalogue, formats: Collection[str]) -> None:
    """Raise ProfileError, naming the field and what would be right, if a profile can't be used.

    ``formats`` are the names of those that are understood.
    """
    where = f"profile {profile.name}"
    if not PROFILE_NAME.fullmatch(profile.name):
        raise ProfileError(
            f'"{profile.name[:80]}" is no name of a profile: lower case letters, digits, "_", "." and "-", at most 64'
        )
    if profile.format not in formats:
        raise ProfileError(
            f'{where}: format "{profile.format[:80]}" is not known; {did_you_mean(profile.format, formats)}'
        )
    kind = catalogue.kind_of.get(profile.kind)
    if kind is None:
        raise ProfileError(
            f'{where}: kind "{profile.kind[:80]}" is not known; {did_you_mean(profile.kind, catalogue.kind_of)}'
        )
    if not 1 <= len(profile.fields) <= MOST_FIELDS:
        raise ProfileError(f"{where}: {len(profile.fields)} fields; map between 1 and {MOST_FIELDS}")
    if "\0" in f"{profile.title}{profile.source}{''.join(one.field for one in profile.fields)}":
        raise ProfileError(f"{where}: a character is NUL, which no text that is kept has; leave it out")
    taken: dict[str, str] = {}
    for one in profile.fields:
        if not (math.isfinite(one.scale) and math.isfinite(one.offset)):
            raise ProfileError(f"{where}: {one.field}: scale and offset are finite numbers; correct it there")
        place = kind.index.get(one.metric)
        if place is None:
            raise ProfileError(
                f'{where}: {kind.name} has no metric "{one.metric[:80]}"; {did_you_mean(one.metric, kind.columns)}'
            )
        for key in (f"field {one.field}", f"metric {one.metric}"):
            if key in taken:
                raise ProfileError(f"{where}: {key} is mapped twice; map it once")
            taken[key] = one.metric
        if one.unit is not None:
            try:
                check_unit(one.unit)
                convert(one.unit, kind.metrics[place].unit)
            except UnitError as error:
                raise ProfileError(f"{where}: {one.field}: {error}") from None


def read_profiles(text: bytes, name: str) -> tuple[Profile, ...]:
    """Return the profiles of a TOML file, ``[[profile]]`` after ``[[profile]]``. Raises ProfileError."""
    try:
        profiles = msgspec.toml.decode(text, type=ProfileFile).profile
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        fields = {one.encode_name for of in (Profile, Field) for one in msgspec.structs.fields(of)}
        hint = (
            did_you_mean(str(error).split("`")[1], fields)
            if "unknown field" in str(error)
            else "correct it there"
        )
        raise ProfileError(f"{name}: {error}; {hint}") from None
    names = [profile.name for profile in profiles]
    if twice := sorted({one for one in names if names.count(one) > 1}):
        raise ProfileError(f"{name}: the profile {twice[0]} is there twice; names are unique")
    return profiles


# Codecs of LoRaWAN devices run on both: what is for one of their servers is for the other, under a name of its own.
_LORAWAN, _TWIN, _OF_TWIN = "lorawan.toml", "things_stack", "-tts"


@functools.cache
def builtin_profiles() -> tuple[Profile, ...]:
    """Return the profiles that come with us."""
    found: list[Profile] = []
    files = importlib.resources.files("sensors").joinpath("data/profiles")
    for file in sorted(files.iterdir(), key=lambda one: one.name):
        profiles = read_profiles(file.read_bytes(), file.name)
        found += profiles
        if file.name == _LORAWAN:
            found += (
                msgspec.structs.replace(one, name=one.name + _OF_TWIN, format=_TWIN) for one in profiles
            )
    return tuple(found)
