"""Per-sample sufficient statistics: what a metric keeps, merges and is computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Ragged:
    """A column in which every sample has its own number of values.

    Sample ``i`` owns ``values[offsets[i]:offsets[i + 1]]``.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    @classmethod
    def from_lists(cls, lists: Sequence[NDArray[Any]]) -> Ragged:
        """Join one array per sample; all have the same trailing shape."""
        counts = np.array([len(values) for values in lists], dtype=np.int64)
        return cls(np.concatenate(lists), np.concatenate([[0], np.cumsum(counts)]))

    @property
    def owner(self) -> NDArray[np.int64]:
        """Sample number of every value, (len(values),)."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def take(self, samples: NDArray[np.int64]) -> Ragged:
        """Return the values of the chosen samples, in the chosen order."""
        counts = np.diff(self.offsets)[samples]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[samples] - offsets[:-1], counts)
        return Ragged(self.values[rows], offsets)


Column = NDArray[Any] | Ragged


@dataclass(frozen=True, eq=False)
class Statistics:
    """What a metric knows about each sample.

    A metric turns predictions and truth of any set of samples into statistics, and all statistics
    into values; nothing else passes between the two, so shards merge to the bit in any order and
    cut, and samples can be drawn again for confidence intervals.

    Parameters
    ----------
    position : int array (n,)
        Each sample's place in its split; unique. The order of the statistics is made canonical
        by it. A "sample" is the unit of resampling: an image, or a whole sequence for trackers.
    columns : mapping of str to array (n, ...) or Ragged
    """

    position: NDArray[np.int64]
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.position)

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def dense(self, name: str) -> NDArray[Any]:
        """Return a column that has one value (of any shape) per sample."""
        column = self.columns[name]
        if isinstance(column, Ragged):
            raise TypeError(f"column {name!r} is ragged")
        return column

    def ragged(self, name: str) -> Ragged:
        """Return a column that has any number of values per sample."""
        column = self.columns[name]
        if not isinstance(column, Ragged):
            raise TypeError(f"column {name!r} is not ragged")
        return column

    def take(self, samples: NDArray[np.int64]) -> Statistics:
        """Return the chosen samples (by their number here), in the chosen order."""
        return Statistics(
            self.position[samples],
            {
                name: column.take(samples) if isinstance(column, Ragged) else column[samples]
                for name, column in self.columns.items()
            },
        )


def merge(parts: Sequence[Statistics]) -> Statistics:
    """Join the statistics of disjoint sets of samples; exact and independent of their order.

    Raises
    ------
    ValueError
        If a sample is in two parts.
    """
    position = np.concatenate([part.position for part in parts])
    unique, first = np.unique(position, return_index=True)
    if len(unique) != len(position):
        twice = np.delete(position, first)[0]
        raise ValueError(f"the sample at position {twice} is in two parts")
    columns: dict[str, Column] = {}
    for name, column in parts[0].columns.items():
        if isinstance(column, Ragged):
            pieces = [part.ragged(name) for part in parts]
            counts = np.concatenate([np.diff(piece.offsets) for piece in pieces])
            columns[name] = Ragged(
                np.concatenate([piece.values for piece in pieces]),
                np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            )
        else:
            columns[name] = np.concatenate([part.dense(name) for part in parts])
    return Statistics(position, columns).take(first)
