"""Readings as columns: a batch of one kind in numpy arrays, NaN where a metric is absent."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from sensors.kinds import Kind


@dataclasses.dataclass(frozen=True, slots=True)
class ReadingBatch:
    """Readings of one kind.

    ``device`` int32 (n,); ``time`` and ``received`` int64 (n,) in Unix microseconds;
    ``values`` float64 (n, metrics), NaN where absent.
    """

    kind: Kind
    device: npt.NDArray[np.int32]
    time: npt.NDArray[np.int64]
    received: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.device)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> ReadingBatch:
        """Return the chosen rows, by index or by mask."""
        return ReadingBatch(
            self.kind, self.device[rows], self.time[rows], self.received[rows], self.values[rows]
        )

    def sorted_unique(self) -> ReadingBatch:
        """Return the rows sorted by (device, time), one for each: the first to arrive wins a metric,
        later ones fill in what it left out."""
        order = np.lexsort((self.time, self.device))  # stable: equal keys keep their order of arrival
        batch = self.take(order)
        repeated = (batch.device[1:] == batch.device[:-1]) & (batch.time[1:] == batch.time[:-1])
        if not repeated.any():
            return batch
        is_first = np.concatenate(([True], ~repeated))
        first_row = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
        values = batch.values.copy()
        for row in np.flatnonzero(~is_first):
            target = values[first_row[row]]
            np.copyto(target, values[row], where=np.isnan(target))
        return dataclasses.replace(batch, values=values).take(is_first)


def concatenate(batches: list[ReadingBatch]) -> ReadingBatch:
    """Return one batch of several of the same kind, in their order."""
    if len(batches) == 1:
        return batches[0]
    return ReadingBatch(
        batches[0].kind,
        np.concatenate([batch.device for batch in batches]),
        np.concatenate([batch.time for batch in batches]),
        np.concatenate([batch.received for batch in batches]),
        np.concatenate([batch.values for batch in batches]),
    )
