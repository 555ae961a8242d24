"""``top``: the state of the city in a terminal, live."""

from __future__ import annotations

import collections
import datetime as dt
import time
from typing import Annotated, Any

import orjson
import typer
from rich.console import RenderableType
from rich.live import Live

from cli.api_client import ApiClient, ApiError, api_client
from cli.console import answers
from cli.settings import load_settings
from cli.top_frame import read_alerts, read_habits, read_rates, read_title, sentence
from cli.top_screen import render

_REMEMBERED = 200  # frames
# Every device is looked at for those in trouble: not with each frame, and of a large city for a tenth of the time.
_HABITS_SECONDS = 15.0
_HABITS_PAUSE = 10.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Analysis")(top)


def top(
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, print that, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each look as a line of JSON.")] = False,
) -> None:
    """Show what comes, how late, what is refused, which devices are in trouble, and the alerts. Ctrl-C ends it.

    The API is that of ALATAU_API_URL and ALATAU_API_KEY, else the one that `up` started. With output to a file or a
    pipe it looks once.

    [dim]Examples:[/]
      alatau top
      alatau top --once
      alatau top --json --every 10
    """
    with api_client(load_settings()) as api:
        city = Watched(api)
        if as_json:
            _print_lines(city, every, once=once)
        elif once or not answers.is_terminal:
            answers.print(city.screen(city.look(), rows=None))
        else:
            _show(city, every)


class Watched:
    """The city as it was last seen."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._title = ""
        self._habits: dict[str, Any] = {}
        self._habits_due = 0.0
        self._history: dict[str, collections.deque[float]] = {}

    def look(self) -> dict[str, Any]:
        """Return what is so now. Raises ApiError."""
        self._title = self._title or read_title(self._api)
        rates = read_rates(self._api)
        alerts = read_alerts(self._api)
        if (began := time.monotonic()) >= self._habits_due:
            self._habits = read_habits(self._api)
            took = time.monotonic() - began
            self._habits_due = began + max(_HABITS_SECONDS, _HABITS_PAUSE * took)
        for one in rates["kinds"]:
            kept = self._history.setdefault(one["kind"], collections.deque(maxlen=_REMEMBERED))
            kept.append(one["readings_per_second"])
        return {
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "city": self._title,
            "sentence": sentence(rates, self._habits, alerts),
            "rates": rates,
            "habits": self._habits,
            "alerts": alerts,
            "trouble": None,
        }

    def screen(self, frame: dict[str, Any], rows: int | None) -> RenderableType:
        """Return how a frame looks on so many rows of the terminal as wide as it is now."""
        history = {kind: [*rates] for kind, rates in self._history.items()}
        return render(frame, history, (answers.width, rows), dt.datetime.now(dt.UTC))


def _print_lines(city: Watched, every: float, *, once: bool) -> None:
    while True:
        answers.print(orjson.dumps(city.look()).decode(), soft_wrap=True, markup=False)
        if once:
            return
        time.sleep(every)


def _show(city: Watched, every: float) -> None:
    frame = city.look()
    with Live(city.screen(frame, answers.height), console=answers, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            try:
                frame = city.look()
            except ApiError as error:
                # What was seen last stays, with its age.
                frame = {**frame, "trouble": str(error)}
            live.update(city.screen(frame, answers.height), refresh=True)
