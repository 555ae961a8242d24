"""How a message and its verdict look in the terminal: one line, of which nothing that a device sent is obeyed."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from cli.console import printable

# ``time`` and ``verdict``, and what there is to say of such a one.
Event = dict[str, Any]

# A sign beside each colour, for those who see none.
_SIGNS = {
    "stored": ("✓ stored ", "green"),
    "part": ("◐ in part", "yellow"),
    "refused": ("✗ refused", "bold red"),
    "counted": ("✗ again  ", "red"),
    "receipt": ("⇤ receipt", "cyan"),
    "status": ("● status ", "magenta"),
}
_METRICS = 6
_PAYLOAD = 80  # characters


def heading(device: dict[str, Any]) -> str:
    """Return what is known of the device before its first message."""
    status = device["status"]
    said = (
        f"says that it is {status['said']} since {status['at']}" if status else "has said nothing of itself"
    )
    kept = device["stored_through"]
    numbers = "" if kept is None else f"; all up to number {kept} is kept"
    disabled = ", disabled: the broker does not let it in" if device["disabled"] else ""
    return f"{device['id']}, {device['kind']} in {device['district']}{disabled}; {said}{numbers}. Waiting for messages:"


def line(event: Event) -> Text:
    """Return an event as a line."""
    sign, colour = _SIGNS[event["verdict"]]
    moment = event["time"].partition("T")[2].removesuffix("Z")[:12].ljust(12)
    text = Text.assemble((moment, "dim"), "  ", (sign, colour), "  ")
    if "values" in event:
        text.append(_readings(event))
    if "detail" in event:
        text.append(("; " if "values" in event else "") + printable(event["detail"]))
        text.append(f"  {_payload(event)}", "dim")
    match event["verdict"]:
        case "counted":
            text.append(f"{event['reason']}, {event['times']} more that are only counted")
        case "receipt":
            text.append(f"all up to number {event['through']} is kept")
        case "status":
            text.append(event["said"])
    return text


def _readings(event: Event) -> str:
    shown = [*event["values"].items()][:_METRICS]
    values = " · ".join(f"{name} {value:g}{_unit(event['units'][name])}" for name, value in shown)
    more = len(event["values"]) - len(shown)
    many = "" if event["readings"] == 1 else f"{event['readings']} readings, the newest "
    return f"{many}{event['age_seconds']:.1f} s old: {values}{f' · {more} more' if more else ''}"


def _unit(code: str) -> str:
    return "" if code == "1" else f" {code}"


def _payload(event: Event) -> str:
    text, channel = event["payload"], event["topic"].rpartition("/")[2]
    shown = f"{event['bytes']} bytes" if text is None else printable(text)
    return f"{printable(channel)} {shown if len(shown) <= _PAYLOAD else shown[: _PAYLOAD - 1] + '…'}"
