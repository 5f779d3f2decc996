"""Look Into Person, single-person pose: COCO people cut out, 16 joints.

Lines of ``TrainVal_pose_annotations/lip_val_set.csv`` (the dataset's archive) or
``lip_val_groundtruth.csv`` (the file of the pose evaluation): image name, then x, y, visibility of
each joint, ``nan`` where it is not labelled; no header. Pixels are 0-based.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.single_person import (
    People,
    Truth,
    Views,
    extent,
    make_dataset,
    missing,
    present,
)
from harness.api import Dataset, PrerequisiteError

ANNOTATIONS = ("lip_val_groundtruth.csv", "TrainVal_pose_annotations/lip_val_set.csv")
NECK, HEAD = 8, 9
OBTAIN = (
    "LIP, single person, of Sun Yat-sen University: 'TrainVal_images' and "
    "'TrainVal_pose_annotations' (non-commercial research)."
)
LAYOUT = """TrainVal_pose_annotations/lip_val_set.csv    labels, or lip_val_groundtruth.csv
TrainVal_images/val_images/*.jpg             pictures, to run methods"""


def layout(split: str) -> str:
    """Return the files of the benchmark's only split below the root."""
    return LAYOUT


def splits(root: Path) -> tuple[str, ...]:
    """Return the splits whose annotation is below ``root``."""
    return ("val",) if present(root, ANNOTATIONS) else ()


def load(root: Path, split: str) -> Dataset:
    """Read the validation people's labels; the ids are the image names."""
    if split not in splits(root):
        raise missing(root, "lip", LAYOUT, OBTAIN)
    name = present(root, ANNOTATIONS)[0]
    names, values = read_table(root / name, 3)
    twice = [image for image, times in Counter(names).items() if times > 1]
    if twice:
        raise PrerequisiteError(f"{root / name}: {twice[0]} appears twice.", "Remove a line.")
    points = values[..., :2]
    # As the official tool reads it: nan is -1, and a negative coordinate is no label.
    filled = np.nan_to_num(points, nan=-1.0)
    size = np.linalg.norm(filled[:, HEAD] - filled[:, NECK], axis=1)
    headless = (filled[:, [NECK, HEAD], 0] < 0).any(axis=1) | (size == 0)
    keypoints = np.where((filled < 0).any(axis=2, keepdims=True), np.nan, filled)
    people = {name: People(keypoints, np.where(headless, np.nan, size))}
    images = [str(root / "TrainVal_images" / "val_images" / image) for image in names]
    views = Views(images, extent(keypoints))
    return make_dataset("lip", split, root, [name], names, Truth(people, views))


def read_table(path: Path, width: int) -> tuple[list[str], NDArray[np.float64]]:
    """Read lines of a name and 16 x ``width`` numbers: names and values (n, 16, width).

    Raises
    ------
    PrerequisiteError
        Naming the file and the first wrong line.
    """
    names, rows = [], []
    remedy = f"Every line is a name and 16 x {width} numbers, nan allowed, without header."
    try:
        lines = list(csv.reader(path.read_text().splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise PrerequisiteError(f"{path} cannot be read: {error}.", remedy) from error
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        if len(line) != 1 + 16 * width:
            raise PrerequisiteError(
                f"{path}, line {number}: {len(line) - 1} numbers, due are {16 * width}.",
                remedy,
            )
        names.append(line[0])
        rows.append(_numbers(line[1:], path, number, remedy))
    return names, np.array(rows, dtype=np.float64).reshape(len(rows), 16, width)


def _numbers(texts: Sequence[str], path: Path, number: int, remedy: str) -> list[float]:
    try:
        values = [float(text) for text in texts]
    except ValueError as error:
        raise PrerequisiteError(f"{path}, line {number}: {error}.", remedy) from None
    if np.isinf(values).any():
        raise PrerequisiteError(f"{path}, line {number}: infinity is no coordinate.", remedy)
    return values
