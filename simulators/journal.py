"""A spool that outlives its process: every change is appended to one file as a line of text.

Why a file and not a database: a line and a rename is what firmware has too. ``12 {…}`` is reading number 12, a
line ``kept THROUGH FIRST NEXT`` says what has become of the others. When most lines are of no use any more, a
new file takes the place of the old one, so that the file stays in proportion to what is kept.

Durability: a line is with the operating system when the call returns, so that kill -9 of the device loses
nothing. ``sync`` brings it to the disk and is called before each sending: a power failure may cost readings of
the last moment, whose numbers nobody has seen, and never lets a number be used twice.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pathlib
from typing import Self

from simulators.errors import SpoolError
from simulators.spool import Spool

_SPARE_LINES = 1_000


class Journal:
    """Keeps one device's ``spool`` in a file; a context manager. Not for several threads at once.

    Raises SpoolError when another process has the file open, or it can't be read or written.
    """

    def __init__(self, path: pathlib.Path, limit: int = 100_000) -> None:
        self.spool = Spool(limit)
        self._path = path
        self._file = -1
        self._lines = self._size = 0
        self._is_dirty = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A file beside it, because the journal's own is replaced.
            self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._open()
        except OSError as error:
            raise SpoolError(f"the spool {path}: {error.strerror}; give another one") from error

    def _open(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(self._path.read_bytes() if self._path.exists() else b"")
            self._rewrite()
        except BlockingIOError:
            os.close(self._lock)
            raise SpoolError(f"the spool {self._path} is in use by another process; end that one") from None
        except (OSError, SpoolError):
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring everything to the disk and let the file go."""
        self.sync()
        os.close(self._file)
        os.close(self._lock)

    def push(self, reading: bytes) -> int:
        """Keep a reading (bytes of a JSON object without line breaks) and return its number.

        Raises SpoolError when the disk takes no more, ValueError as ``Spool.check``; the reading is then not
        kept and has no number.
        """
        spool = self.spool
        spool.check(reading)
        line = b"%d %s\n" % (spool.next, reading)
        if len(spool) >= spool.limit:
            line = b"kept %d %d %d\n" % (spool.through, spool.first + 1, spool.next) + line
        self._append(line)
        return spool.push(reading)

    def receive(self, through: int) -> int:
        """Forget what a receipt says is stored; as ``Spool.receive``."""
        known = self.spool.through
        stored = self.spool.receive(through)
        if self.spool.through > known:
            # A receipt that the disk does not take costs a resend after a restart, and nothing else.
            with contextlib.suppress(SpoolError):
                self._append(b"kept %d %d %d\n" % (self.spool.through, self.spool.first, self.spool.next))
        return stored

    def renumber(self, first: int) -> None:
        """Give what is kept new numbers; as ``Spool.renumber``, and on the disk when it returns.

        Raises SpoolError when the disk takes no more; the numbers are then the old ones.
        """
        before = self.spool.first
        self.spool.renumber(first)
        try:
            self._rewrite()
        except OSError as error:
            self.spool.renumber(before)
            raise SpoolError(f"the spool {self._path}: {error.strerror}; make room") from error

    def sync(self) -> None:
        """Return when everything so far is on the disk."""
        if self._is_dirty:
            os.fdatasync(self._file)
            self._is_dirty = False

    def _append(self, lines: bytes) -> None:
        try:
            if self._lines > 2 * len(self.spool) + _SPARE_LINES:
                self._rewrite()
            self._is_dirty = True
            if os.write(self._file, lines) < len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            # Half a line would spoil the next one.
            os.ftruncate(self._file, self._size)
            raise SpoolError(f"the spool {self._path}: {error.strerror}; make room") from error
        self._size += len(lines)
        self._lines += lines.count(b"\n")

    def _rewrite(self) -> None:
        """Put a new file with only what counts in the place of the old one. Raises OSError."""
        spool = self.spool
        lines = [b"kept %d %d %d\n" % (spool.through, spool.first, spool.first)]
        lines += [b"%d %s\n" % (spool.first + at, reading) for at, reading in enumerate(spool.readings)]
        partial, content = self._path.with_name(f"{self._path.name}.new"), b"".join(lines)
        with partial.open("wb") as whole:
            whole.write(content)
            whole.flush()
            os.fsync(whole.fileno())
        # For appending, so that a line never lands elsewhere than at the end.
        file = os.open(partial, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        partial.replace(self._path)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size, self._lines, self._is_dirty = file, len(content), len(lines), False
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _load(self, content: bytes) -> None:
        """Read what an earlier process has left.

        A line that is not whole was being written when power failed, and so were those after it: they had not
        been synced, so their numbers were never sent.
        """
        if content and not content.startswith(b"kept "):
            raise SpoolError(f"{self._path} is not a spool; give another one")
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n") or not self._replay(line[:-1]):
                break

    def _replay(self, line: bytes) -> bool:
        spool = self.spool
        head, _, rest = line.partition(b" ")
        try:
            if head == b"kept":
                through, first, following = map(int, rest.split())
            elif int(head) == spool.next and isinstance(json.loads(rest), dict):
                spool.push(rest)
                return True
            else:
                return False
        except ValueError:
            return False
        dropped = spool.dropped
        spool.receive(through)
        while len(spool) and spool.first < first:
            spool.drop()
        if not len(spool):
            spool.renumber(max(spool.next, first, following))
        spool.dropped = dropped  # counted by the process that dropped it
        return True
