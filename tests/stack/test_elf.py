from pathlib import Path

import pytest

from stack.elf import interpreter, replace_string
from stack.timezones import DATA_DIR_LINK, SYSTEM_ZONEINFO


def test_loader_of_an_executable_is_read() -> None:
    loader = interpreter(Path("/bin/sh").resolve())
    assert loader is not None
    assert Path(loader).exists()


def test_files_that_are_no_executables_have_no_loader(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert interpreter(tmp_path / "script") is None
    assert interpreter(Path(__file__)) is None


def test_string_constant_is_replaced_and_padded(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"code\0/usr/share/zoneinfo\0'--with-system-tzdata=/usr/share/zoneinfo'\0end")
    size = program.stat().st_size
    assert replace_string(program, str(SYSTEM_ZONEINFO), DATA_DIR_LINK)
    content = program.read_bytes()
    assert len(content) == size
    assert b"\0alatau_zoneinfo\0\0\0\0\0'--with-system-tzdata=/usr/share/zoneinfo'\0end" in content


def test_ambiguous_or_absent_strings_are_left_alone(tmp_path: Path) -> None:
    program = tmp_path / "program"
    for content in (b"\0ab\0cd\0ab\0", b"none"):
        program.write_bytes(content)
        assert not replace_string(program, "ab", "x")
        assert program.read_bytes() == content


def test_longer_replacement_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\0ab\0")
    with pytest.raises(ValueError, match="longer"):
        replace_string(program, "ab", "abc")
