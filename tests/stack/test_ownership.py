from pathlib import Path

import pytest

from stack.errors import StackError
from stack.ownership import claim, is_ours, remove


def test_what_was_claimed_can_be_removed(tmp_path: Path) -> None:
    target = tmp_path / "a/b"
    claim(target)
    (target / "file").touch()
    claim(target)
    remove(target)
    assert not target.exists()
    assert target.parent.exists()


def test_claimed_directory_is_private(tmp_path: Path) -> None:
    claim(tmp_path / "ours")
    assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o700


def test_strange_directories_are_neither_claimed_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/holiday").touch()
    with pytest.raises(StackError, match="not empty"):
        claim(tmp_path / "photos")
    with pytest.raises(StackError, match="left alone"):
        remove(tmp_path / "photos")
    assert (tmp_path / "photos/holiday").exists()


def test_link_to_a_directory_of_ours_is_not_ours(tmp_path: Path) -> None:
    claim(tmp_path / "ours")
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    assert not is_ours(tmp_path / "link")
    with pytest.raises(StackError):
        remove(tmp_path / "link")
    assert (tmp_path / "ours").exists()


def test_removing_what_is_absent_is_fine(tmp_path: Path) -> None:
    remove(tmp_path / "nothing")
