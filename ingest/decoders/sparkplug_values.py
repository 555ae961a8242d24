"""The numbers of Sparkplug metrics, by their datatypes. Source: Sparkplug 3.0.0, 6.4.16."""

from __future__ import annotations

import math

from ingest.decoders.sparkplug_payload import BOOLEAN, DATETIME, Metric, MisfitError
from sensors.checks import Reason

_FLOATING = (9, 10)  # Float, Double
_WITHOUT_NUMBER = (12, 14, 15, 17, 18, 19)  # String, Text, UUID, Bytes, File, Template
_DATASET = 16
_ARRAYS = range(22, 35)
_UNSIGNED_BITS = {5: 8, 6: 16, 7: 32, 8: 64, DATETIME: 64}
_SIGNED_BITS = {1: 8, 2: 16, 3: 32, 4: 64}


def number_of(metric: Metric, datatype: int) -> float | None:
    """Return a metric's value as a number, None where it has none. Raises MisfitError.

    NaN and the infinities, which gateways send for a sensor that failed, are none.
    """
    if datatype in _FLOATING:
        _require(metric, "float_value", "double_value")
        value: float = metric.value
        return value if math.isfinite(value) else None
    if datatype in _SIGNED_BITS:
        _require(metric, "int_value", "long_value")
        return float(_signed(metric.value, _SIGNED_BITS[datatype]))
    if datatype in _UNSIGNED_BITS:
        _require(metric, "int_value", "long_value")
        return float(_unsigned(metric.value, _UNSIGNED_BITS[datatype]))
    if datatype == BOOLEAN:
        _require(metric, "boolean_value")
        return float(metric.value)
    if datatype in _WITHOUT_NUMBER:
        return None
    if datatype == _DATASET:
        valid = "a number; publish what the table holds as metrics of their own"
        raise MisfitError(Reason.WRONG_TYPE, "a DataSet", valid)
    if datatype in _ARRAYS:
        valid = "a number; publish each element as a metric of its own"
        raise MisfitError(Reason.WRONG_TYPE, "an array", valid)
    raise MisfitError(Reason.WRONG_TYPE, f"datatype {datatype}", "a datatype from 1 (Int8) to 19 (Template)")


def _require(metric: Metric, *fields: str) -> None:
    if metric.field not in fields:
        valid = f"{' or '.join(fields)}, as its datatype has it"
        raise MisfitError(Reason.WRONG_TYPE, metric.field, valid)


def _unsigned(whole: int, bits: int) -> int:
    if whole >> bits:
        raise MisfitError(Reason.OUT_OF_RANGE, str(whole), f"0 to {(1 << bits) - 1}")
    return whole


def _signed(whole: int, bits: int) -> int:
    """Return a number from its two's complement in its own width, in 32 or in 64 bits: encoders differ."""
    end = 1 << bits
    low = whole & (end - 1)
    number = low - end if low >= end >> 1 else low
    if whole not in (low, number % (1 << 32), number % (1 << 64)):
        raise MisfitError(Reason.OUT_OF_RANGE, str(whole), f"{-(end >> 1)} to {(end >> 1) - 1}")
    return number
