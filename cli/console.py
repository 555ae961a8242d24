"""What people see: one console for answers, one for everything else, and a bar for each step of long work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from stack.progress import Report

# Where nobody looks, lines are read by programs and logs: eighty columns would cut through ids and commands.
_WIDTH_ELSEWHERE = 160


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH_ELSEWHERE)
    return console


answers = _console(stderr=False)
errors = _console(stderr=True)


def printable(text: str) -> str:
    """Return a text that does nothing to a terminal: what is not to be seen is shown as its number."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text[:2000]
    )


def shown(text: str) -> str:
    """Return a text of a stranger for a table or a line: nothing of it is obeyed, and none of it is markup."""
    return escape(printable(text))


class Steps:
    """Progress of a sequence of steps: a spinner or a bar on a terminal, one line a step elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}", style="dim"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Steps:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Report]:
        """Show one step; what it yields takes a note and the fraction done, 0..1 or None."""
        if not self._console.is_terminal:
            self._console.print(f"{title} …")
        task = self._progress.add_task(title, total=None, note="")

        def report(note: str, fraction: float | None) -> None:
            self._update(task, note, fraction)

        yield report
        self._progress.update(task, total=1, completed=1, note="")

    def _update(self, task: TaskID, note: str, fraction: float | None) -> None:
        if fraction is None:
            self._progress.update(task, note=note)
        else:
            self._progress.update(task, note=note, total=1, completed=fraction)
