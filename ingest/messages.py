"""Messages with something wrong, and what that is where it is not in what they say."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ingest.decode import EXPLAINED_FAULTS, Explanation, Fault
from ingest.decoders.parsed import Refusal
from sensors.checks import Reason
from storage.dead_letters import DeadLetter

if TYPE_CHECKING:
    from mqtt5 import PublishPacket

    from ingest.routes import Route, Routes


@dataclasses.dataclass(slots=True, eq=False)
class Message:
    """A message with something wrong, which becomes a dead letter; ``received`` in Unix µs."""

    packet: PublishPacket
    received: int
    route: Route | None
    faults: list[Fault] = dataclasses.field(default_factory=list)
    is_kept: bool = True  # whole, not only counted

    @property
    def reason(self) -> Reason:
        """The reason of the first fault."""
        return self.faults[0].reason

    @property
    def detail(self) -> str:
        """What was wrong, the first few things of it."""
        details = [fault.detail for fault in self.faults[:EXPLAINED_FAULTS]]
        if (more := len(self.faults) - EXPLAINED_FAULTS) > 0:
            details.append(f"and {more} more")
        return "; ".join(details)

    def letter(self) -> DeadLetter:
        """Return the dead letter of this message."""
        return DeadLetter(
            received=self.received,
            topic=self.packet.topic,
            payload=self.packet.payload,
            reason=self.reason,
            detail=self.detail,
            device_id=self.route.device_id if self.route else None,
        )


def refused(refusal: Refusal) -> Fault:
    """Return what is wrong with a part of a message of another format."""
    where = f"{refusal.path}: " if refusal.path else ""
    detail = f"{where}found {refusal.found}; send {refusal.valid}"
    return Fault(refusal.reason, Explanation(detail, refusal.path, refusal.found, refusal.valid))


def no_device(topic: str, routes: Routes) -> Fault:
    """Return what is wrong with a message that is no device's."""
    device = routes.device_of(topic)
    return no_topic(topic, routes.pattern) if device is None else unregistered(device)


def no_topic(topic: str, pattern: str) -> Fault:
    """Return what is wrong with a topic that is not as ``pattern``."""
    detail = f"topic {topic[:200]!r} is not {pattern}"
    return Fault(Reason.UNKNOWN_TOPIC, Explanation(detail, None, topic[:80], pattern))


def unregistered(device: str) -> Fault:
    """Return what is wrong with the message of a device that nobody knows."""
    detail = f"no device {device!r} is registered; run: alatau device add {device} --kind … --district …"
    return Fault(Reason.UNKNOWN_DEVICE, Explanation(detail, None, device, "the id of a registered device"))
