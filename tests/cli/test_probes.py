"""Where a simulator is, read from its log."""

from __future__ import annotations

import pathlib

from cli.probes import answers_ok, simulator_state
from stack.ports import free_port

LINE = '{"phase":"history","fraction":0.5,"published":7}\n'


def test_the_newest_whole_line_counts(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    log.write_text(LINE + LINE.replace("7", "8") + '{"phase":"li')
    assert simulator_state(log, 0).published == 8


def test_lines_of_an_earlier_run_do_not_count(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    log.write_text(LINE)
    assert simulator_state(log, log.stat().st_size).phase == "connecting"


def test_a_log_that_was_put_aside_is_read_from_its_beginning(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    log.write_text(LINE)
    assert simulator_state(log, 10_000_000).published == 7


async def test_nobody_who_listens_is_not_ready() -> None:
    assert not await answers_ok(free_port())()
