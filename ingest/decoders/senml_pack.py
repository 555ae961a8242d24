"""A pack of SenML, record by record: base fields applied, names divided, sums and units resolved (RFC 8428)."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from ingest.decoders.gathering import LONGEST_NAME, SECONDS_BELOW, Gathering, pointer, shown
from ingest.decoders.parsed import Incoming
from ingest.decoders.senml_names import LONGEST_UNIT, is_valid, meaning
from ingest.decoders.senml_units import unit_of_sum
from sensors.checks import Reason

MOST_RECORDS = 10_000
# Smaller sums of base time and time are seconds from now: those of Unix begin in July 1978.
ABSOLUTE_FROM = 2**28
# RFC 8428 has 10, its drafts had less; RFC 9100 adds 16 to it for a pack with secondary units.
LATEST_VERSION, _WITH_SECONDARY_UNITS = 10, 26

_BASES = frozenset({"bn", "bt", "bu", "bv", "bs"})
# Without these no value can be placed; a fault in any other concerns its own value alone.
_NEEDED = frozenset({"n", "u", "t"})
_NEEDED_BASES = frozenset({"bn", "bt", "bu"})
_NAMES_ARE = "letters, digits and - : . / _, a letter or digit first, at most 255 in all"


class Record(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A record as it stands in a pack; None is what it leaves out."""

    n: str | None = None
    u: str | None = None
    v: float | None = None
    t: float | None = None
    vb: bool | None = None
    vs: Any = None
    vd: Any = None
    s: float | None = None
    ut: float | None = None
    bn: str | None = None
    bt: float | None = None
    bu: str | None = None
    bv: float | None = None
    bs: float | None = None
    bver: int | None = None


class Unusable(Exception):  # noqa: N818  # not an error of ours: what the specification says of the pack
    """The specification forbids to use any of the pack; ``path``, ``found`` and ``valid`` as in a refusal."""

    def __init__(self, path: str, found: str, valid: str) -> None:
        super().__init__(path, found, valid)
        self.path, self.found, self.valid = path, found, valid


class Resolver:
    """Adds the records of a pack, in their order, to what was gathered."""

    def __init__(self, incoming: Incoming, gathering: Gathering) -> None:
        self._level = incoming.levels[0]
        self._received, self._is_retained = incoming.received, incoming.is_retained
        self._gathering = gathering
        self._name = self._unit = ""
        self._time = self._value = 0.0
        self._sum: float | None = None
        # Base fields that could not be read: what follows can't either, until they are set again.
        self._unread: set[str] = set()

    def add(self, place: int, record: Record, spoilt: frozenset[str] = frozenset()) -> None:
        """Add one record; ``spoilt`` are the labels of it that were refused."""
        self._take_bases(record)
        if spoilt:
            self._unread |= spoilt & _BASES
            if spoilt & _NEEDED:
                return
        if self._unread and self._unread & _NEEDED_BASES:
            return
        has_sum = record.s is not None or self._sum is not None
        values = (
            (record.v is not None)
            + (record.vb is not None)
            + (record.vs is not None)
            + (record.vd is not None)
        )
        if values == 1 or (has_sum and not values and not _sets_only_bases(record)):
            self._measure(place, record, has_sum=has_sum)
        elif values:
            given = [label for label in ("v", "vb", "vs", "vd") if getattr(record, label) is not None]
            self._gathering.refuse(Reason.UNDECODABLE, (place,), " and ".join(given), "one of v, vb, vs, vd")
        elif not spoilt and not _sets_only_bases(record):
            self._gathering.refuse(
                Reason.NO_METRICS, (place,), "no value", "one of v, vb, vs, vd, or a sum s"
            )

    def _take_bases(self, record: Record) -> None:
        # The common record sets none.
        if record.bn is not None:
            self._name = record.bn
            self._unread.discard("bn")
        if record.bt is not None:
            self._time = record.bt
            self._unread.discard("bt")
        if record.bu is not None:
            self._unit = record.bu
            self._unread.discard("bu")
        if record.bv is not None:
            self._value = record.bv
            self._unread.discard("bv")
        if record.bs is not None:
            self._sum = record.bs
            self._unread.discard("bs")

    def _measure(self, place: int, record: Record, *, has_sum: bool) -> None:
        name = record.n or ""
        # A base unit is not meant for what has none.
        unit = record.u or (self._unit if record.vb is None else "")
        known = None
        if len(self._name) + len(name) <= LONGEST_NAME and len(unit) <= LONGEST_UNIT:
            known = meaning(self._level, self._name, name, unit)
        time = self._time + (record.t or 0.0)
        if known is None:
            self._refuse_meaning(place, record, name, unit)
        elif not -SECONDS_BELOW < time < SECONDS_BELOW:
            label = "bt" if record.t is None else "t"
            valid = "Unix seconds, or seconds from now"
            self._gathering.refuse(Reason.TIME_UNREADABLE, (place, label), shown(time), valid)
        else:
            if time < ABSOLUTE_FROM:
                # What is retained was sent nobody knows when.
                time = self._received + time if time and not self._is_retained else math.nan
            self._add(place, record, known, time, has_sum=has_sum)

    def _add(
        self, place: int, record: Record, known: tuple[str, str, str], time: float, *, has_sum: bool
    ) -> None:
        source, field, unit = known
        if record.v is not None:
            if "bv" not in self._unread:
                self._gathering.add(source, time, field, self._value + record.v, (place, "v"), unit)
        elif record.vb is not None:
            self._gathering.add(source, time, field, float(record.vb), (place, "vb"), unit)
        if has_sum and "bs" not in self._unread:
            total = (self._sum or 0.0) + (record.s or 0.0)
            self._gathering.add(source, time, f"{field}.sum", total, (place, "s"), unit_of_sum(unit))

    def _refuse_meaning(self, place: int, record: Record, name: str, unit: str) -> None:
        """Say why a record can't be told whose or what it is."""
        if len(unit) > LONGEST_UNIT:
            label = "u" if record.u else "bu"
            valid = f"a unit of SenML's registry, at most {LONGEST_UNIT} characters"
            self._gathering.refuse(Reason.WRONG_TYPE, (place, label), shown(unit), valid)
        elif not is_valid(self._name, name):
            label = "bn" if record.n is None else "n"
            found = shown(self._name[:LONGEST_NAME] + name)
            self._gathering.refuse(Reason.UNDECODABLE, (place, label), found, _NAMES_ARE)
        else:
            valid = "a device's URN in bn, or a topic senml/{device}"
            self._gathering.refuse(Reason.UNKNOWN_DEVICE, (place,), shown(name), valid)


def check_version(place: int, version: Any) -> None:
    """Raise Unusable unless the version is one that this decoder knows."""
    is_whole = type(version) is int or (isinstance(version, float) and version.is_integer())
    if not is_whole or not (1 <= version <= LATEST_VERSION or version == _WITH_SECONDARY_UNITS):
        raise Unusable(pointer((place, "bver")), shown(version), "version 10, or 26 with secondary units")


def _sets_only_bases(record: Record) -> bool:
    """Return whether a record measures nothing: many senders put the base fields in one of their own."""
    return (
        record.n is None
        and record.u is None
        and record.t is None
        and record.v is None
        and record.s is None
        and record.vb is None
        and record.vs is None
        and record.vd is None
        and record.ut is None
    )
