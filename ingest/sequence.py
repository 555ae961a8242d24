"""The numbers of a cut's readings, collected as they are decoded, and made runs for each device.

Columns, not objects: a numbered reading costs four appended items, one without a number nothing.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from storage.sequences import Numbers

if TYPE_CHECKING:
    from mqtt5 import PublishPacket

    from ingest.routes import Route


@dataclasses.dataclass(slots=True)
class Collected:
    """Parallel lists of the numbered readings of a cut, stored or not: a dead letter is kept as well."""

    routes: list[Route] = dataclasses.field(default_factory=list)
    numbers: list[int] = dataclasses.field(default_factory=list)
    oldest: list[int] = dataclasses.field(default_factory=list)
    packets: list[PublishPacket] = dataclasses.field(default_factory=list)
    unkept: set[int] = dataclasses.field(default_factory=set)  # identities of packets

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, route: Route, number: int, oldest: int | None, packet: PublishPacket) -> None:
        """Take the number of one reading and what its device called its oldest; both are valid."""
        self.routes.append(route)
        self.numbers.append(number)
        self.oldest.append(oldest or 1)
        self.packets.append(packet)

    def leave_out(self, packet: PublishPacket) -> None:
        """Forget the numbers in a packet that is only counted: its device still has it, and sends it again."""
        self.unkept.add(id(packet))

    def as_runs(self) -> Numbers | None:
        """Return the numbers of what is kept as runs, None where there are none."""
        device = np.fromiter((route.device_id for route in self.routes), np.int32, len(self.routes))
        number = np.array(self.numbers, dtype=np.int64)
        oldest = np.array(self.oldest, dtype=np.int64)
        if self.unkept:
            kept = np.array([id(packet) not in self.unkept for packet in self.packets], dtype=bool)
            device, number, oldest = device[kept], number[kept], oldest[kept]
        return runs(device, number, oldest) if len(number) else None

    def names(self) -> dict[int, str]:
        """Return the devices' ids by their numbers."""
        return {route.device_id: route.device for route in self.routes}

    def carriers(self) -> set[int]:
        """Return the identities of the packets that brought a numbered reading."""
        return set(map(id, self.packets))


def runs(
    device: npt.NDArray[np.int32], number: npt.NDArray[np.int64], oldest: npt.NDArray[np.int64]
) -> Numbers:
    """Return the runs of numbers, in any order and repeated or not; at least one."""
    order = np.lexsort((number, device))
    device, number, oldest = device[order], number[order], oldest[order]
    follows = (device[1:] == device[:-1]) & (number[1:] - number[:-1] <= 1)
    begins = np.flatnonzero(np.concatenate(([True], ~follows)))
    ends = np.append(begins[1:], len(number)) - 1
    return Numbers(device[begins], number[begins], number[ends], np.maximum.reduceat(oldest, begins))
