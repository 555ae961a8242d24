"""Readings that can be counted: from each one's contents follows which it is, so none can hide.

Reading ``n`` is number ``n // devices`` of device ``n % devices``, and its first metric says so. Devices of even
number state the time of their readings, the others leave it to the arrival unless all are ``stamped``.
"""

from __future__ import annotations

import dataclasses
import json

from sensors.kinds import DeviceSpec

_RESOLUTION = 100  # pm2_5 is plausible up to 1000: 100,000 readings a device


@dataclasses.dataclass(frozen=True, slots=True)
class Counted:
    """A load; ``start`` and ``step`` in Unix ms. Of ``faulty_every`` readings one is a dead letter on purpose.

    ``numbered`` readings carry ``"seq"``, from 1 for each device.
    """

    prefix: str
    devices: int
    count: int
    start: int
    step: int = 1
    faulty_every: int = 0
    numbered: bool = False
    stamped: bool = False

    def __post_init__(self) -> None:
        if self.count > self.devices * 1000 * _RESOLUTION:
            raise ValueError(
                f"{self.devices} devices can't have {self.count} readings of values of their own"
            )

    def device_names(self) -> list[str]:
        """Return the ids of the devices."""
        return [f"{self.prefix}-{number:05d}" for number in range(self.devices)]

    def specs(self) -> list[DeviceSpec]:
        """Return what the devices are registered as: sending as often as they do is what they should."""
        interval = f"PT{self.step / 1000:g}S"
        return [DeviceSpec(name, "air_quality", "gate", interval=interval) for name in self.device_names()]

    def is_faulty(self, number: int) -> bool:
        """Return whether a reading has to become a dead letter."""
        return bool(self.faulty_every) and number % self.faulty_every == self.faulty_every - 1

    def fields(self, number: int) -> dict[str, object]:
        """Return what a reading says."""
        turn, device = divmod(number, self.devices)
        said: dict[str, object] = {"pm2_5": turn / _RESOLUTION, "temperature": number % 40}
        if self.is_faulty(number):
            said = {"pm2_5": f"not a number: {turn}"}
        if self.numbered:
            said["seq"] = turn + 1
        if self.stamped or device % 2 == 0:
            said["ts"] = self.start + turn * self.step
        return said

    def payload(self, numbers: list[int]) -> bytes:
        """Return one message: a reading, or an array of readings of the same device."""
        said = [self.fields(number) for number in numbers]
        return json.dumps(said if len(said) > 1 else said[0], separators=(",", ":")).encode()


def turn_of(value: float) -> int:
    """Return which of its device's readings has this value of pm2_5."""
    return round(value * _RESOLUTION)
