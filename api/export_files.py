"""The directory of exported files: writing one with its checksum, bounded, and deleting those of nobody."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import zlib
from collections.abc import Iterable
from typing import BinaryIO

from sensors.errors import AlatauError
from storage.exports import Export, ExportFormat

# Only files of such names are ever deleted, whatever else the directory holds.
_NAME = re.compile(r"export-(\d+)\.(?:parquet|csv\.gz)(?:\.partial-(\d+))?")
_GZIP = 16 + zlib.MAX_WBITS


class ExportError(AlatauError):
    """A file can't be made; the text is for who asked for it."""


def prepare_directory(directory: pathlib.Path) -> None:
    """Make the directory, for its owner only. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)


def file_of(directory: pathlib.Path, export: Export) -> pathlib.Path:
    """Return where the finished file of a job is."""
    return directory / f"export-{export.export_id}.{export.asked.format.value}"


def our_files(directory: pathlib.Path) -> dict[pathlib.Path, tuple[int, int | None]]:
    """Return our files, each with the number of its job and, if it is not finished, of the job's attempt."""
    return {
        path: (int(match[1]), int(match[2]) if match[2] else None)
        for path in directory.iterdir()
        if (match := _NAME.fullmatch(path.name))
    }


def delete_files(paths: Iterable[pathlib.Path]) -> None:
    """Delete files, those that are gone already too."""
    for path in paths:
        path.unlink(missing_ok=True)


def bytes_of(directory: pathlib.Path) -> int:
    """Return how many bytes our files have together."""
    total = 0
    for entry in os.scandir(directory):
        # One may be deleted or renamed at this moment.
        with contextlib.suppress(FileNotFoundError):
            total += entry.stat().st_size if _NAME.fullmatch(entry.name) else 0
    return total


class ExportFile:
    """A file that is written under another name until it is whole. All methods block; OSError is told as
    ExportError."""

    def __init__(self, directory: pathlib.Path, export: Export, most_bytes: int) -> None:
        self._directory = directory
        self._final = file_of(directory, export)
        self._partial = self._final.with_name(f"{self._final.name}.partial-{export.attempt}")
        self._most_bytes = most_bytes
        self._digest = hashlib.sha256()
        self._compressor = (
            zlib.compressobj(6, zlib.DEFLATED, _GZIP) if export.asked.format is ExportFormat.CSV_GZ else None
        )
        self.size = 0
        try:
            self._file: BinaryIO = self._partial.open("wb")
        except OSError as error:
            raise _told(error) from error

    def write(self, piece: bytes) -> None:
        """Append a piece. Raises ExportError where all files together would be too large, or the disk is full."""
        self._append(self._compressor.compress(piece) if self._compressor else piece)

    def _append(self, piece: bytes) -> None:
        if not piece:
            return
        # The others are on the disk already, and this one as far as its file object has written it.
        if bytes_of(self._directory) + len(piece) > self._most_bytes:
            raise ExportError(
                f"the files of all exports together would be more than {self._most_bytes / 2**30:.3g} GiB; delete "
                "some, or ask for a shorter range"
            )
        try:
            self._file.write(piece)
        except OSError as error:
            raise _told(error) from error
        self._digest.update(piece)
        self.size += len(piece)

    def finish(self) -> bytes:
        """Make the file whole, durable and known by its name; return its SHA-256."""
        if self._compressor:
            self._append(self._compressor.flush())
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.replace(self._final)
        except OSError as error:
            raise _told(error) from error
        return self._digest.digest()

    def abandon(self) -> None:
        """Delete what is there of it."""
        with contextlib.suppress(OSError):
            self._file.close()
        for path in (self._partial, self._final):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Delete what was not finished."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._partial.unlink(missing_ok=True)


def _told(error: OSError) -> ExportError:
    return ExportError(f"the file can't be written: {error.strerror or error}")
