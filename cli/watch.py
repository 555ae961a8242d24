"""``device watch``: what comes of one device's messages, live, by the API: it takes no right at the broker."""

from __future__ import annotations

import itertools
import json
import time
import urllib.parse
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cli.api_client import ApiAwayError, ApiClient, api_client
from cli.console import answers, errors
from cli.settings import load_settings
from cli.watch_lines import Event, heading, line
from sensors.times import SECOND, format_timestamp, parse_timestamp

# Readings: enough for a second of an ordinary device; more are asked for when all of them are new.
_AT_ONCE, _MOST = 20, 1000
_LETTERS = 50
_REMEMBERED = 10_000

Rows = list[dict[str, Any]]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("watch")(watch)


def watch(
    device_id: Annotated[str, typer.Argument(metavar="ID", help="Its id.")],
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many lines.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Each as a line of JSON, and no heading.")] = False,
) -> None:
    """Show what comes of a device's messages, one line each: stored or refused and why, receipts, its status.

    Ctrl-C ends it. The API is that of ALATAU_API_URL and ALATAU_API_KEY, which has the role operator, else the one that
    `up` started. Times are UTC.

    [dim]Examples:[/]
      alatau device watch lamp-17
      alatau device watch lamp-17 --count 1
      alatau device watch lamp-17 --json
    """
    with api_client(load_settings()) as api:
        watched = Watched(api, device_id)
        device = watched.begin(_now())
        if not as_json:
            answers.print(heading(device), markup=False, soft_wrap=True)
        for event in itertools.islice(_events(watched, every), count):
            if as_json:
                # In ASCII: what a terminal would obey is escaped, too.
                answers.print(json.dumps(event), soft_wrap=True, markup=False)
            elif answers.is_terminal:
                answers.print(line(event), no_wrap=True, overflow="ellipsis")
            else:
                answers.print(line(event), soft_wrap=True)


def _events(watched: Watched, every: float) -> Iterator[Event]:
    is_away = False
    while True:
        time.sleep(every)
        try:
            events = watched.look(_now())
        except ApiAwayError as error:
            if not is_away:
                errors.print(f"{error}; trying again", markup=False, soft_wrap=True)
            is_away = True
            continue
        is_away = False
        yield from events


class Watched:
    """One device as it was last seen.

    A message is known by when it arrived, in Unix µs: its readings share that, also with what is refused of it.
    """

    def __init__(self, api: ApiClient, device: str) -> None:
        self._api = api
        self._path = f"devices/{urllib.parse.quote(device, safe='')}"
        self._device = device
        self._begun = 0  # when the newest message came that was there before
        self._seen: dict[int, None] = {}  # messages whose readings were told
        self._newest_letter = 0
        self._repeats: dict[int, int] = {}  # how often a refused message of a number came again
        self._status: Any = None
        self._through: int | None = None
        self._units: dict[str, str] = {}

    def begin(self, now: int) -> dict[str, Any]:
        """Take what is so now (Unix µs) as known, and return the device. Raises ApiError."""
        device: dict[str, Any] = self._api.get(self._path)
        self._begun = max(self._readings(_AT_ONCE)[0], default=0)
        self._take(self._letters(), now)
        self._said(device, now)
        return device

    def look(self, now: int) -> list[Event]:
        """Return what came since the last look, in its order. Raises ApiError; the next look then tells it."""
        messages, page = self._new_messages(), self._letters()
        # Stored and refused parts of a message are committed at once, perhaps between the two questions.
        again = self._new_messages() if any(letter["id"] > self._newest_letter for letter in page) else {}
        device = self._api.get(self._path)
        letters, counted = self._take(page, now)
        last = max({*messages, *letters}, default=0)
        messages |= {came: rows for came, rows in again.items() if came <= last}
        self._seen |= dict.fromkeys(messages)
        while len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        came = sorted({*messages, *letters})
        told = [self._told(one, messages.get(one), letters.get(one)) for one in came]
        return [*told, *counted, *self._said(device, now)]

    def _new_messages(self) -> dict[int, Rows]:
        for limit in (_AT_ONCE, _MOST):
            messages, last = self._readings(limit)
            new = {came: rows for came, rows in messages.items() if self._is_new(came)}
            if last is None or not self._is_new(last):
                break  # else there may be more of a message than that
        return new

    def _is_new(self, came: int) -> bool:
        return came > self._begun and came not in self._seen

    def _readings(self, limit: int) -> tuple[dict[int, Rows], int | None]:
        """Return the readings of the newest times by their messages, and the message of the last if there are more."""
        asked = {"device": self._device, "start": "-P400D", "end": "PT1H", "order": "desc", "limit": limit}
        page = self._api.get("readings", asked)
        self._units = page["units"]
        messages: dict[int, Rows] = {}
        arrivals = [parse_timestamp(came) for came in page["received_at"]]
        for row, came in enumerate(arrivals):
            values = {name: column[row] for name, column in page["values"].items() if column[row] is not None}
            messages.setdefault(came, []).append({"time": page["time"][row], "values": values})
        return messages, arrivals[-1] if page["next"] else None

    def _letters(self) -> list[dict[str, Any]]:
        asked = {"device": self._device, "limit": _LETTERS}
        page: list[dict[str, Any]] = self._api.get("dead-letters", asked)["dead_letters"]
        return page

    def _take(self, page: list[dict[str, Any]], now: int) -> tuple[dict[int, Any], list[Event]]:
        """Return refused messages that are new, and an event of each that came again and was only counted."""
        known, before = self._newest_letter, self._repeats
        self._newest_letter = max((letter["id"] for letter in page), default=known)
        self._repeats = {letter["id"]: letter["repeats"] for letter in page}
        new = {parse_timestamp(letter["received_at"]): letter for letter in page if letter["id"] > known}
        counted = [
            _event(now, "counted", reason=letter["reason"], times=again)
            for letter in page
            if (letter["id"] in before or letter["id"] > known)
            and (again := letter["repeats"] - before.get(letter["id"], 0))
        ]
        return new, counted

    def _told(self, came: int, rows: Rows | None, letter: dict[str, Any] | None) -> Event:
        event = _event(came, "refused" if not rows else "part" if letter else "stored")
        if rows:
            newest = rows[0]
            event |= {
                "readings": len(rows),
                "age_seconds": (came - parse_timestamp(newest["time"])) / SECOND,
                "values": newest["values"],
                "units": {name: self._units[name] for name in newest["values"]},
            }
        if letter:
            event |= {
                "topic": letter["topic"],
                "payload": letter["payload_text"],
                "bytes": letter["payload_bytes"],
                "reason": letter["reason"],
                "detail": letter["detail"],
            }
        return event

    def _said(self, device: dict[str, Any], now: int) -> list[Event]:
        """Return what the device has said of itself, and what it was told is kept."""
        events, status, through = [], device["status"], device["stored_through"]
        if status != self._status and status is not None:
            events.append(_event(parse_timestamp(status["at"]), "status", said=status["said"]))
        if through != self._through:
            events.append(_event(now, "receipt", through=through))
        self._status, self._through = status, through
        return events


def _event(at: int, verdict: str, **more: Any) -> Event:
    return {"time": format_timestamp(at), "verdict": verdict, **more}


def _now() -> int:
    return time.time_ns() // 1000
