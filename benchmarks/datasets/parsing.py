"""Human parsing: lists of images, and label maps as 8-bit PNG files."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.single_person import make_dataset
from harness.api import PARSING, Dataset, Predictions, PrerequisiteError

_REMEDY = "Label maps are PNG files of 8 bits per pixel (grey or palette), the size of the image."


@dataclass(frozen=True)
class Layout:
    """Where a data set keeps its files below the root; ``{split}`` is filled in.

    ``labels`` are the folders that may hold the label maps; the first that is there is used.
    """

    benchmark: str
    list: str
    labels: tuple[str, ...]
    images: str

    def describe(self, split: str) -> str:
        """Return the expected files, one per line."""
        folders = " or ".join(f"{folder}/ID.png" for folder in self.labels)
        lines = [f"{self.list}   ids, one per line", folders, f"{self.images}/ID.jpg"]
        return "\n".join(lines).format(split=split)


@dataclass(frozen=True, eq=False)
class Truth:
    """Paths of label maps and images, in the split's order."""

    labels: tuple[Path, ...]
    images: tuple[Path, ...]


def splits(root: Path, layout: Layout) -> tuple[str, ...]:
    """Return the splits whose list of ids is below ``root``."""
    names = ("test", "val", "train")
    return tuple(name for name in names if (root / layout.list.format(split=name)).is_file())


def load(root: Path, split: str, layout: Layout, obtain: str) -> Dataset:
    """Read the list of a split and make sure that every label map is there."""
    list_path = root / layout.list.format(split=split)
    folders = [root / folder.format(split=split) for folder in layout.labels]
    folder = next((path for path in folders if path.is_dir()), None)
    if not list_path.is_file() or folder is None:
        raise PrerequisiteError(
            f"{layout.benchmark}: no split {split!r} below {root}.",
            f"Expected:\n{layout.describe(split)}\n{obtain}",
        )
    ids = list_path.read_text(encoding="utf-8").split()
    labels = tuple(folder / f"{image_id}.png" for image_id in ids)
    _check_there(labels, f"listed in {list_path}")
    images = tuple(root / layout.images.format(split=split) / f"{i}.jpg" for i in ids)
    files = [path.relative_to(root).as_posix() for path in (list_path, *labels)]
    return make_dataset(layout.benchmark, split, root, files, ids, Truth(labels, images))


def read_submission(folder: Path, dataset: Dataset) -> Predictions:
    """Read a folder with ``ID.png`` for every image of the split."""
    if not folder.is_dir():
        raise PrerequisiteError(f"{folder} is no folder.", f"Give a folder of ID.png. {_REMEDY}")
    paths = [folder / f"{image_id}.png" for image_id in dataset.sample_ids]
    _check_there(paths, f"of the {len(paths)} of the split")
    blobs = np.empty(len(paths), dtype=object)
    blobs[:] = [path.read_bytes() for path in paths]
    return Predictions(PARSING, dataset.sample_ids, np.arange(len(paths) + 1), {"labels": blobs})


def decode_labels(content: bytes, name: str) -> NDArray[np.uint8]:
    """Return the class indices (height, width) of a PNG file.

    A palette is not applied: the indices are the classes.

    Raises
    ------
    PrerequisiteError
        If the bytes are no 8-bit PNG of one channel; ``name`` says whose they are.
    """
    from PIL import Image

    try:
        image = Image.open(BytesIO(content))
        image.load()
    except Exception as error:  # a damaged file fails in as many ways as there are chunks
        raise PrerequisiteError(f"{name} cannot be decoded: {error}.", _REMEDY) from error
    if image.mode not in ("L", "P"):
        raise PrerequisiteError(f"{name} has pixels of mode {image.mode}.", _REMEDY)
    return np.asarray(image, dtype=np.uint8)


def _check_there(paths: list[Path] | tuple[Path, ...], what: str) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise PrerequisiteError(
            f"{len(missing)} label maps {what} are missing: {missing[0]}.",
            "Give one PNG file for every image.",
        )
