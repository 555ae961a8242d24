"""One ``up`` for each data directory."""

from __future__ import annotations

import pathlib

import pytest

from cli.locking import is_running, only_one
from stack.errors import StackError


def test_a_directory_is_held_by_one_at_a_time(tmp_path: pathlib.Path) -> None:
    with only_one(tmp_path / "city"):
        assert is_running(tmp_path / "city")
        with pytest.raises(StackError, match="ALATAU_DATA_DIR"), only_one(tmp_path / "city"):
            pass
    assert not is_running(tmp_path / "city")


def test_two_directories_do_not_hinder_each_other(tmp_path: pathlib.Path) -> None:
    with only_one(tmp_path / "a"), only_one(tmp_path / "b"):
        assert is_running(tmp_path / "a")


def test_a_failure_lets_go(tmp_path: pathlib.Path) -> None:
    with pytest.raises(KeyError), only_one(tmp_path):
        raise KeyError
    assert not is_running(tmp_path)


def test_nothing_runs_where_nothing_is(tmp_path: pathlib.Path) -> None:
    assert not is_running(tmp_path / "nowhere")
