"""The catalogue: which city, districts, kinds and metrics there are. Immutable, read from files."""

from __future__ import annotations

import functools
import importlib.resources
import math
import pathlib
import tomllib
import zoneinfo
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
import yaml

from sensors.errors import CatalogueError, did_you_mean
from sensors.kinds import (
    KIND_NAME,
    METRIC_NAME,
    RESERVED_NAMES,
    City,
    DeviceSpec,
    District,
    Kind,
    Metric,
)
from sensors.times import DAY, parse_duration
from sensors.topics import DEVICE_ID, why_reserved

_LONGEST_INTERVAL = 366 * DAY


class AddedMetric(Metric, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A metric that a city file adds to a kind that exists already."""

    kind: str


class CityFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of a city file. Every part is optional: a file may only add a few devices."""

    city: City | None = None
    district: tuple[District, ...] = ()
    kind: tuple[Kind, ...] = ()
    metric: tuple[AddedMetric, ...] = ()
    device: tuple[DeviceSpec, ...] = ()


class Catalogue(msgspec.Struct, frozen=True, dict=True):
    """An immutable snapshot of what may be measured, and where."""

    city: City
    districts: tuple[District, ...]
    kinds: tuple[Kind, ...]

    @functools.cached_property
    def kind_of(self) -> dict[str, Kind]:
        """Kind by name."""
        return {kind.name: kind for kind in self.kinds}

    @functools.cached_property
    def district_of(self) -> dict[str, District]:
        """District by name."""
        return {district.name: district for district in self.districts}

    @functools.cached_property
    def metric_of(self) -> dict[str, Metric]:
        """Metric by name; where several kinds measure it, the first one's, whose unit is that of all."""
        return {metric.name: metric for kind in reversed(self.kinds) for metric in kind.metrics}

    def kinds_measuring(self, metric: str) -> tuple[Kind, ...]:
        """Return the kinds that have this metric."""
        return tuple(kind for kind in self.kinds if metric in kind.index)


def builtin_file(name: str) -> CityFile:
    """Return one of the files that come with us: ``kinds`` or ``alatau``."""
    source = importlib.resources.files("sensors").joinpath(f"data/{name}.toml")
    return parse_city_file(source.read_text(), f"{name}.toml")


def read_city_file(path: pathlib.Path) -> CityFile:
    """Read a TOML or YAML city file; CatalogueError names file, key and the nearest valid value."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise CatalogueError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    except OSError as error:
        raise CatalogueError(
            f"{path}: {error.strerror or error}; give the path of a TOML or YAML city file"
        ) from error
    return parse_city_file(text, str(path))


def parse_city_file(text: str, name: str) -> CityFile:
    """Parse the text of a city file; the ending of ``name`` tells TOML from YAML."""
    try:
        raw: Any = yaml.safe_load(text) if name.endswith((".yaml", ".yml")) else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise CatalogueError(f"{name}: not readable: {error}; correct it there") from error
    try:
        return msgspec.convert(raw or {}, CityFile)
    except msgspec.ValidationError as error:
        raise CatalogueError(f"{name}: {error}{_field_hint(str(error))}") from error


def _field_hint(message: str) -> str:
    """Return a suggestion where a field's name is not one of ours."""
    if "unknown field" not in message:
        return ""
    field = message.split("`")[1]
    structs = (CityFile, City, District, Kind, AddedMetric, DeviceSpec)
    valid = {f.encode_name for struct in structs for f in msgspec.structs.fields(struct)}
    return f"; {did_you_mean(field, valid)}"


def build_catalogue(file: CityFile, name: str, previous: Catalogue | None = None) -> Catalogue:
    """Return ``previous`` (or the built-in kinds) with what the file adds.

    Nothing is ever removed, and a metric keeps its place and its unit, because rows are stored by them.
    Raises CatalogueError that names the file, the key and what would be right.
    """
    city = file.city or (previous.city if previous else None)
    if city is None:
        raise CatalogueError(f"{name}: no [city]; the first city file must name the city and its timezone")
    kinds = {kind.name: kind for kind in previous.kinds} if previous else {}
    for kind in builtin_file("kinds").kind + file.kind:
        kinds[kind.name] = _merge_kind(kinds[kind.name], kind, name) if kind.name in kinds else kind
    for number, added in enumerate(file.metric):
        if added.kind not in kinds:
            raise CatalogueError(
                f'{name}: metric[{number}].kind "{added.kind}" is not a kind; '
                f"{did_you_mean(added.kind, kinds)}"
            )
        metric = msgspec.convert(
            {f: getattr(added, f) for f in Metric.__struct_fields__}, Metric, strict=False
        )
        extended = msgspec.structs.replace(kinds[added.kind], metrics=(metric,))
        kinds[added.kind] = _merge_kind(kinds[added.kind], extended, name)
    districts = {d.name: d for d in (*(previous.districts if previous else ()), *file.district)}
    catalogue = Catalogue(city, tuple(districts.values()), tuple(kinds.values()))
    _validate(catalogue, name)
    _validate_devices(file.device, catalogue, name)
    return catalogue


def _merge_kind(old: Kind, new: Kind, name: str) -> Kind:
    metrics = {metric.name: metric for metric in old.metrics}
    for metric in new.metrics:
        before = metrics.get(metric.name)
        if before and (before.unit, before.behaviour) != (metric.unit, metric.behaviour):
            raise CatalogueError(
                f"{name}: {old.name}.{metric.name} is stored as {before.behaviour} in {before.unit}, "
                f"the file says {metric.behaviour} in {metric.unit}; give the new quantity a new name"
            )
        metrics[metric.name] = metric
    return msgspec.structs.replace(new, metrics=tuple(metrics.values()))


def _validate(catalogue: Catalogue, name: str) -> None:
    try:
        zoneinfo.ZoneInfo(catalogue.city.timezone)
    except (KeyError, ValueError, OSError):
        zones = zoneinfo.available_timezones()
        raise CatalogueError(
            f'{name}: city.timezone "{catalogue.city.timezone}" is not an IANA zone; '
            f"{did_you_mean(catalogue.city.timezone, zones) if zones else 'install tzdata'}"
        ) from None
    for district in catalogue.districts:
        _validate_name(district.name, f"{name}: district")
        if len(district.outline) < 3:
            raise CatalogueError(f"{name}: district {district.name}.outline needs three corners or more")
        for corner in district.outline:
            _validate_position(corner, f"{name}: district {district.name}.outline")
    seen: dict[str, tuple[str, Metric]] = {}
    for kind in catalogue.kinds:
        _validate_kind(kind, name, seen)


def _validate_kind(kind: Kind, name: str, seen: dict[str, tuple[str, Metric]]) -> None:
    where = f"{name}: kind {kind.name}"
    _validate_name(kind.name, f"{name}: kind")
    _validate_interval(kind.interval, f"{where}.interval")
    if not kind.metrics:
        raise CatalogueError(f"{where} has no metric; a kind measures at least one")
    for metric_name, count in Counter(kind.columns).items():
        if count > 1:
            raise CatalogueError(f"{where} has the metric {metric_name} {count} times; names are unique")
    for metric in kind.metrics:
        at = f"{where}.{metric.name}"
        if not METRIC_NAME.fullmatch(metric.name) or metric.name in RESERVED_NAMES:
            raise CatalogueError(
                f"{at}: a metric's name is lower case letters, digits and _, at most 48, "
                f"and none of {', '.join(sorted(RESERVED_NAMES))}"
            )
        if not all(map(math.isfinite, (metric.minimum, metric.maximum, metric.resolution))):
            raise CatalogueError(
                f"{at}: minimum, maximum and resolution are finite numbers, such as 0, 1e9 and 0.1"
            )
        if not metric.resolution > 0:
            raise CatalogueError(f"{at}: resolution {metric.resolution:g} must be above zero, such as 0.1")
        if not metric.minimum < metric.maximum:
            raise CatalogueError(f"{at}: minimum {metric.minimum:g} must be below maximum {metric.maximum:g}")
        if not metric.unit or not metric.unit.isascii() or " " in metric.unit:
            raise CatalogueError(
                f'{at}: unit "{metric.unit}" is not a UCUM code, such as Cel, ug/m3, kW.h or 1'
            )
        other_kind, other = seen.setdefault(metric.name, (kind.name, metric))
        if (other.unit, other.behaviour) != (metric.unit, metric.behaviour):
            raise CatalogueError(
                f"{at} is a {metric.behaviour} in {metric.unit}, but {other_kind}.{metric.name} is a "
                f"{other.behaviour} in {other.unit}; one name means one quantity in the whole city"
            )


def _validate_devices(devices: Iterable[DeviceSpec], catalogue: Catalogue, name: str) -> None:
    seen: set[str] = set()
    for number, device in enumerate(devices):
        if device.id in seen:
            raise CatalogueError(f'{name}: device[{number}].id "{device.id}" is there twice; ids are unique')
        seen.add(device.id)
        try:
            validate_device(device, catalogue)
        except CatalogueError as error:
            raise CatalogueError(f"{name}: device[{number}].{error}") from None


def validate_device(device: DeviceSpec, catalogue: Catalogue) -> None:
    """Raise CatalogueError, naming the field, if the device can't be registered in this catalogue."""
    if not DEVICE_ID.fullmatch(device.id):
        raise CatalogueError(
            f'id "{device.id[:80]}" is not valid: 1 to 64 letters, digits, ".", "_", ":", "-", '
            "beginning with a letter or a digit"
        )
    if reason := why_reserved(device.id):
        raise CatalogueError(f'id "{device.id}" is not free: {reason}')
    if device.kind not in catalogue.kind_of:
        raise CatalogueError(
            f'kind "{device.kind}" is not known; {did_you_mean(device.kind, catalogue.kind_of)}'
        )
    if device.district not in catalogue.district_of:
        raise CatalogueError(
            f'district "{device.district}" is not known; '
            f"{did_you_mean(device.district, catalogue.district_of)}"
        )
    if device.position is not None:
        _validate_position(device.position, "position")
    if device.interval is not None:
        _validate_interval(device.interval, "interval")


def _validate_name(value: str, where: str) -> None:
    if not KIND_NAME.fullmatch(value):
        raise CatalogueError(
            f'{where} "{value}": a name is lower case letters, digits and _, at most 40, a letter first'
        )


def _validate_position(position: tuple[float, float], where: str) -> None:
    longitude, latitude = position
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise CatalogueError(
            f"{where}: [{longitude:g}, {latitude:g}] is not [longitude, latitude] in degrees; "
            "longitude comes first"
        )


def _validate_interval(text: str, where: str) -> None:
    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise CatalogueError(f"{where}: {error}") from None
    if duration <= 0:
        raise CatalogueError(f"{where}: {text} is not above zero; write PT1M for a reading a minute")
    if duration > _LONGEST_INTERVAL:
        raise CatalogueError(f"{where}: {text} is longer than a year; write P1D for a reading a day")
