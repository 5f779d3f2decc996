"""What the readers of single-person benchmarks return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.api import Dataset, PrerequisiteError, content_digest, file_digest


@dataclass(frozen=True, eq=False)
class People:
    """The labels of one annotation file, one person per sample.

    Parameters
    ----------
    keypoints : array (n, K, 2)
        Pixels of the image, 0-based; NaN where there is no label.
    size : array (n,), optional
        The annotation's own unit of length in pixels, where it has one.
    """

    keypoints: NDArray[np.float64]
    size: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.keypoints)

    def take(self, rows: NDArray[np.int64]) -> People:
        """Return some people, in the given order."""
        return People(self.keypoints[rows], None if self.size is None else self.size[rows])


@dataclass(frozen=True, eq=False)
class Views:
    """Where to look: what methods are given of every sample.

    Parameters
    ----------
    images : sequence of str
        Path of each sample's image; empty where the annotation does not name it.
    boxes : array (n, 4), optional
        Person boxes x, y, w, h in pixels, 0-based.
    inputs : mapping of str to array (n, ...)
        Further inputs by name.
    """

    images: Sequence[str]
    boxes: NDArray[np.float64] | None = None
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Truth:
    """Ground truth of one split: labels by annotation file, and what methods are given."""

    people: Mapping[str, People]
    views: Views


def extent(keypoints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the boxes x, y, w, h (n, 4) around the labelled points (n, K, 2)."""
    low, high = np.fmin.reduce(keypoints, axis=1), np.fmax.reduce(keypoints, axis=1)
    return np.concatenate([low, high - low], axis=1)


def make_dataset(
    benchmark: str, split: str, root: Path, files: Sequence[str], ids: Sequence[str], truth: Any
) -> Dataset:
    """Put a data set together; its digest is over ``files``, which lie below ``root``."""
    return Dataset(
        benchmark=benchmark,
        split=split,
        root=root,
        digest=content_digest({name: file_digest(root / name) for name in files}),
        synthetic=False,
        sample_ids=tuple(ids),
        truth=truth,
    )


def present(root: Path, candidates: Sequence[str]) -> list[str]:
    """Return those of the files that are below ``root``."""
    return [name for name in candidates if (root / name).is_file()]


def missing(root: Path, benchmark: str, layout: str, obtain: str) -> PrerequisiteError:
    """Return the error for a root without the annotation that is needed."""
    return PrerequisiteError(
        f"{benchmark}: no annotation file below {root}.", f"Expected:\n{layout}\n{obtain}"
    )


def check_shape(
    values: NDArray[np.float64], shape: tuple[int | None, ...], path: Path, name: str
) -> None:
    """Make sure that an annotation array has a shape; None stands for any size.

    Raises
    ------
    PrerequisiteError
        Naming the file, the array and both shapes.
    """
    same = len(values.shape) == len(shape) and all(
        due is None or got == due for got, due in zip(values.shape, shape, strict=True)
    )
    if not same:
        due = tuple("n" if size is None else size for size in shape)
        raise PrerequisiteError(
            f"{path}: {name!r} has shape {values.shape}, due is ({', '.join(map(str, due))}).",
            "Use the file as it was published.",
        )
