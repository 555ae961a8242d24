"""Cayenne LPP: each type by its bytes, what is no frame of it, and frames of an encoder of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders.cayenne import NotCayenneError, decode
from sensors.ucum import check_unit
from tests.ingest.decoders.encode_lorawan import cayenne

TYPES: list[tuple[str, dict[str, float], dict[str, str]]] = [
    ("03 00 64", {"digital_in_3": 100}, {}),
    ("03 01 01", {"digital_out_3": 1}, {}),
    ("05 02 fc18", {"analog_in_5": -10}, {}),
    ("05 03 0cb0", {"analog_out_5": 32.48}, {}),
    ("01 64 ffffffff", {"generic_1": 4_294_967_295}, {}),
    ("01 65 ffff", {"luminosity_1": 65_535}, {"luminosity_1": "lx"}),
    ("01 66 01", {"presence_1": 1}, {}),
    ("01 67 ffdd", {"temperature_1": -3.5}, {"temperature_1": "Cel"}),
    ("01 67 8000", {"temperature_1": -3276.8}, {"temperature_1": "Cel"}),
    ("02 68 6f", {"relative_humidity_2": 55.5}, {"relative_humidity_2": "%"}),
    (
        "06 71 04d2 fb2e 0000",
        {"accelerometer_6.x": 1.234, "accelerometer_6.y": -1.234, "accelerometer_6.z": 0},
        dict.fromkeys(("accelerometer_6.x", "accelerometer_6.y", "accelerometer_6.z"), "[g]"),
    ),
    ("00 73 27bf", {"barometric_pressure_0": 1017.5}, {"barometric_pressure_0": "hPa"}),
    ("01 74 0169", {"voltage_1": 3.61}, {"voltage_1": "V"}),
    ("01 75 00b4", {"current_1": 0.18}, {"current_1": "A"}),
    ("01 76 33bca100", {"frequency_1": 868_000_000}, {"frequency_1": "Hz"}),
    ("01 78 57", {"percentage_1": 87}, {"percentage_1": "%"}),
    ("01 79 ffe4", {"altitude_1": -28}, {"altitude_1": "m"}),
    ("01 7a fffc18", {"load_1": -1}, {"load_1": "kg"}),
    ("01 7d 0264", {"concentration_1": 612}, {"concentration_1": "[ppm]"}),
    ("01 80 0029", {"power_1": 41}, {"power_1": "W"}),
    ("01 82 000004d2", {"distance_1": 1.234}, {"distance_1": "m"}),
    ("01 83 00003039", {"energy_1": 12.345}, {"energy_1": "kW.h"}),
    ("01 84 010e", {"direction_1": 270}, {"direction_1": "deg"}),
    ("01 85 6955b900", {"unix_time_1": 1_767_225_600}, {"unix_time_1": "s"}),
    (
        "01 86 0001 ffff 7fff",
        {"gyrometer_1.x": 0.01, "gyrometer_1.y": -0.01, "gyrometer_1.z": 327.67},
        dict.fromkeys(("gyrometer_1.x", "gyrometer_1.y", "gyrometer_1.z"), "deg/s"),
    ),
    ("01 87 ff8000", {"colour_1.red": 255, "colour_1.green": 128, "colour_1.blue": 0}, {}),
    (
        "01 88 06765f f2960a 0003e8",
        {"gps_1.latitude": 42.3519, "gps_1.longitude": -87.9094, "gps_1.altitude": 10},
        {"gps_1.latitude": "deg", "gps_1.longitude": "deg", "gps_1.altitude": "m"},
    ),
    ("ff 8e 01", {"switch_255": 1}, {}),
]


@pytest.mark.parametrize(("frame", "values", "units"), TYPES, ids=[frame for frame, _, _ in TYPES])
def test_each_type_has_its_size_step_and_unit(
    frame: str, values: dict[str, float], units: dict[str, str]
) -> None:
    assert decode(bytes.fromhex(frame)) == (values, units)
    for unit in units.values():
        check_unit(unit)


def test_a_frame_says_one_thing_after_the_other() -> None:
    everything = bytes.fromhex(
        "".join(f"{place:02x}" + frame[2:] for place, (frame, _, _) in enumerate(TYPES))
    )
    values, _ = decode(everything)
    assert len(values) == sum(len(of_one) for _, of_one, _ in TYPES)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        ("01", "a channel without a type at byte 0"),
        ("01 67 ffdd 02", "a channel without a type at byte 4"),
        ("01 67 ff", "temperature_1 cut short at byte 2"),
        ("01 88 06765f f2960a 0003", "gps_1.altitude cut short at byte 8"),
        ("01 67 ffdd 01 67 ffdd", "temperature_1 a second time at byte 6"),
        ("01 63 00", "unknown type 99 at byte 1"),
        ("01 f0 0102030405060708", "a polyline at byte 0, which is not read"),
    ],
)
def test_what_is_not_whole_is_refused_with_the_place(frame: str, why: str) -> None:
    with pytest.raises(NotCayenneError) as refused:
        decode(bytes.fromhex(frame))
    assert str(refused.value) == why


_WHOLE = {"digital_in": 8, "digital_out": 8, "presence": 8, "percentage": 8, "switch": 8, "luminosity": 16}
_WHOLE |= {"concentration": 16, "power": 16, "direction": 16, "generic": 32, "frequency": 32, "unix_time": 32}
_STEPS = {"analog_in": 100, "analog_out": 100, "temperature": 10}


def _stepped(lowest: int, highest: int, steps: int) -> st.SearchStrategy[float]:
    return st.integers(lowest, highest).map(lambda raw: raw / steps)


_readings = st.one_of(
    *(st.tuples(st.just(name), st.integers(0, 2**bits - 1)) for name, bits in _WHOLE.items()),
    *(st.tuples(st.just(name), _stepped(-(2**15), 2**15 - 1, steps)) for name, steps in _STEPS.items()),
    st.tuples(st.just("relative_humidity"), _stepped(0, 200, 2)),
    st.tuples(st.just("energy"), _stepped(0, 2**32 - 1, 1000)),
)


@given(st.dictionaries(st.integers(0, 255), _readings, max_size=40))
def test_what_an_encoder_wrote_is_read_again(readings: dict[int, tuple[str, float]]) -> None:
    frame = cayenne(*((channel, name, value) for channel, (name, value) in readings.items()))
    values, _ = decode(frame)
    assert values == {f"{name}_{channel}": value for channel, (name, value) in readings.items()}


axes = st.tuples(*[st.integers(-(2**15), 2**15 - 1)] * 3)


@given(
    axes, st.integers(-900_000, 900_000), st.integers(-1_800_000, 1_800_000), st.integers(-(2**23), 2**23 - 1)
)
def test_axes_and_places_are_read_again(
    raw: tuple[int, int, int], latitude: int, longitude: int, altitude: int
) -> None:
    place = (latitude / 1e4, longitude / 1e4, altitude / 100)
    values, _ = decode(cayenne((1, "accelerometer", [axis / 1000 for axis in raw]), (2, "gps", place)))
    assert tuple(values.values()) == (*(axis / 1000 for axis in raw), *place)


@given(st.binary(max_size=64))
def test_any_bytes_are_read_to_their_end_or_refused(frame: bytes) -> None:
    try:
        values, units = decode(frame)
    except NotCayenneError:
        return
    assert set(units) <= set(values)
    assert len(values) >= len(frame) // 11  # the longest, a place, takes eleven bytes
