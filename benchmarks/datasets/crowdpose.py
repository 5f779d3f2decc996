"""Reader of CrowdPose, in its official layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.coco import (
    CocoTruth,
    dataset_of,
    image_records,
    read_annotations,
    read_truth,
)
from harness.api import Dataset, PrerequisiteError

AREA_OF_BOX = 0.53
"""The annotations have no area: the official tool takes this share of the box."""

_PREFIX = "crowdpose_"


@dataclass(frozen=True, eq=False)
class CrowdPoseTruth(CocoTruth):
    """The annotated people of one split and how crowded its images are.

    Parameters
    ----------
    crowd_index : array (n,)
        0 to 1, of each image.
    """

    crowd_index: NDArray[np.float64]


def layout(split: str) -> str:
    """Return the files of a split below the root."""
    return f"annotations/{_PREFIX}{split}.json\nimages/*.jpg"


def splits(root: Path) -> tuple[str, ...]:
    """Return the splits whose annotation file is below the root."""
    files = (root / "annotations").glob(f"{_PREFIX}*.json")
    return tuple(sorted(file.stem.removeprefix(_PREFIX) for file in files))


def load(root: Path, split: str) -> Dataset:
    """Read a split.

    Raises
    ------
    PrerequisiteError
        If the annotation file is missing or one of its records is wrong.
    """
    path = root / "annotations" / f"{_PREFIX}{split}.json"
    content = read_annotations(path, root, splits(root), layout(split))
    people = read_truth(path, content, joints=14, box_area=AREA_OF_BOX)
    images = image_records(path, content)
    crowd_index = images.numbers("crowdIndex")[np.argsort(images.integers("id"))]
    truth = CrowdPoseTruth(**vars(people), crowd_index=crowd_index)
    return dataset_of("crowdpose", split, root, path, content, truth)


def picture_folder(dataset: Dataset) -> Path:
    """Return the folder of the pictures.

    Raises
    ------
    PrerequisiteError
        If there is none.
    """
    folder = dataset.root / "images"
    if not folder.is_dir():
        raise PrerequisiteError(
            f"{dataset.root} holds no pictures.",
            f"Expected below {dataset.root}:\n{layout(dataset.split)}",
        )
    return folder
