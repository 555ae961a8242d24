"""What a device's maker can do about each reason of a refusal: one short line, which the device is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sensors.checks import Reason

HINTS: Final[Mapping[Reason, str]] = {
    Reason.UNKNOWN_TOPIC: "publish to the topics of your own id alone",
    Reason.UNKNOWN_DEVICE: "register the device, then have the dead letters replayed",
    Reason.UNCLAIMED: "have the operator claim the source for a device; what was kept is stored then",
    Reason.TOO_LARGE: "send smaller arrays",
    Reason.UNDECODABLE: "send an object of metrics, or an array of such objects, as JSON in UTF-8",
    Reason.NO_METRICS: "send at least one value, or leave the message out",
    Reason.WRONG_UNIT: "send the metric's unit, or one of the same quantity in UCUM",
    Reason.UNKNOWN_METRIC: "take a name of the device's kind, or add the metric to the catalogue",
    Reason.WRONG_TYPE: "send a JSON number in the metric's unit: 83.4, not a text",
    Reason.OUT_OF_RANGE: "check sensor and unit; leave out what was not measured",
    Reason.DUPLICATE: "send each value once",
    Reason.TIME_UNREADABLE: "send Unix seconds, or RFC 3339 with a zone",
    Reason.TIME_TOO_OLD: "set the clock before sending, or leave the time out",
    Reason.TIME_IN_FUTURE: "set the clock, or leave the time out",
    Reason.BAD_SEQUENCE: "number readings from 1 on, with whole numbers; the metrics are stored all the same",
    Reason.BAD_STATUS: "publish online or offline in these letters, as the last will too",
    Reason.NO_BIRTH: "answer rebirth requests",
    Reason.RATE_EXCEEDED: "send one reading an interval, or register the interval that the device has",
    Reason.SIMULATED: "nothing; a simulated uplink is never stored",
    Reason.REFUSED_BY_DATABASE: "tell the operator, who finds the message among the dead letters",
}
