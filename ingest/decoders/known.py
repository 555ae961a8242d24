"""What earlier messages said of their sources, within bounds: the memory of formats that need it."""

from __future__ import annotations

import collections
from typing import Generic, TypeVar

T = TypeVar("T")


class Known(Generic[T]):
    """What is known of each source; with more than ``most`` names in all, who was silent longest is forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names = 0
        self._sources: collections.OrderedDict[str, tuple[T, int]] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._sources)

    @property
    def names(self) -> int:
        """Return how many names are known, each source itself counted as one."""
        return self._names

    def get(self, source: str) -> T | None:
        """Return what is known of a source, which was hereby heard of, or None."""
        found = self._sources.get(source)
        if found is None:
            return None
        self._sources.move_to_end(source)
        return found[0]

    def keep(self, source: str, what: T, names: int) -> None:
        """Know this of a source from now on, with so many names."""
        self.forget(source)
        self._sources[source] = (what, names + 1)
        self._names += names + 1
        while self._names > self._most and len(self._sources) > 1:
            self.forget(next(iter(self._sources)))

    def forget(self, source: str) -> None:
        """Know nothing of a source any more."""
        found = self._sources.pop(source, None)
        if found is not None:
            self._names -= found[1]
