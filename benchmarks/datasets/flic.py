"""Frames Labeled In Cinema: 1016 test people from films, upper bodies.

- ``examples.mat``, the official annotation: ``examples`` (1, 5003) with ``coords`` (2, 29), NaN
  where a joint is not labelled, ``filepath``, ``torsobox`` (x1, y1, x2, y2), ``istest``.
- ``annot/valid.h5`` (stacked hourglass): the test people in the same order, ``part`` (n, 11, 2),
  ``imgname``, ``center`` (x of the torso box, y of the image), ``scale`` (2.2). The eyes of 48
  people change places against examples.mat, all other joints are equal.
- ``annot/valid_personcentric.h5``: left and right of these 48 people exchanged.
- ``examples.json``: ``{"coords": [person][column][x, y], "istest": [...]}``, null for no label.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.arrays import read_array, read_nested
from benchmarks.datasets.single_person import (
    People,
    Truth,
    Views,
    check_shape,
    extent,
    make_dataset,
    missing,
    present,
)
from harness.api import Dataset, PrerequisiteError

OBSERVER_CENTRIC = ("examples.mat", "examples.json", "annot/valid.h5")
PERSON_CENTRIC = ("annot/valid_personcentric.h5",)
OBTAIN = (
    "FLIC of B. Sapp and B. Taskar, 'modec' project of the University of Pennsylvania (for "
    "research). The .h5 files come with princeton-vl/pose-hg-train (BSD-3-Clause)."
)
LAYOUT = """examples.mat                    official annotation, or
annot/valid.h5                  the same test people
annot/valid_personcentric.h5    for the protocol person-centric
images/*.jpg                    pictures, to run methods"""

# Columns of coords: shoulder, elbow, wrist left and right, hips, eyes, nose.
COLUMNS = [0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16]


def layout(split: str) -> str:
    """Return the files of the benchmark's only split below the root."""
    return LAYOUT


def splits(root: Path) -> tuple[str, ...]:
    """Return the splits whose annotation is below ``root``."""
    return ("test",) if present(root, OBSERVER_CENTRIC + PERSON_CENTRIC) else ()


def load(root: Path, split: str) -> Dataset:
    """Read the test people's labels from all annotation files that are there."""
    if split not in splits(root):
        raise missing(root, "flic", LAYOUT, OBTAIN)
    names = present(root, OBSERVER_CENTRIC + PERSON_CENTRIC)
    read = {".mat": _from_mat, ".json": _from_json, ".h5": _from_h5}
    people: dict[str, People] = {}
    images: list[str] = []
    inputs: dict[str, NDArray[Any]] = {}
    for name in names:
        keypoints, seen, given = read[Path(name).suffix](root / name)
        people[name] = People(keypoints - 1)
        images, inputs = seen or images, inputs | given
    counts = {name: len(labels) for name, labels in people.items()}
    if len(set(counts.values())) > 1:
        raise PrerequisiteError(
            f"{root}: the annotation files hold different numbers of test people: {counts}.",
            "Keep the files of one data set in a folder.",
        )
    boxes = extent(people[names[0]].keypoints)
    views = Views([str(root / "images" / image) for image in images], boxes, inputs)
    ids = [f"{i:04d}" for i in range(len(boxes))]
    return make_dataset("flic", split, root, names, ids, Truth(people, views))


Labels = tuple[NDArray[np.float64], list[str], dict[str, NDArray[Any]]]
"""Keypoints (n, 11, 2), image names, further inputs."""


def _from_mat(path: Path) -> Labels:
    import scipy.io

    try:
        examples = scipy.io.loadmat(path, squeeze_me=True)["examples"]
        test = examples[examples["istest"] == 1]
        coords = np.stack(test["coords"]).astype(np.float64)
        torso = np.stack(test["torsobox"]).astype(np.float64) - 1
    except Exception as error:  # a damaged file fails in as many ways as scipy has readers
        raise PrerequisiteError(f"{path} cannot be read: {error!r}.", OBTAIN) from error
    check_shape(coords, (None, 2, 29), path, "coords")
    boxes = np.concatenate([torso[:, :2], torso[:, 2:] - torso[:, :2]], axis=1)
    return coords[:, :, COLUMNS].transpose(0, 2, 1), list(test["filepath"]), {"torso_box": boxes}


def _from_json(path: Path) -> Labels:
    coords = read_nested(path, LAYOUT, "coords")
    check_shape(coords, (None, 29, 2), path, "coords")
    test = read_nested(path, LAYOUT, "istest")
    check_shape(test, (len(coords),), path, "istest")
    return coords[test == 1][:, COLUMNS], [], {}


def _from_h5(path: Path) -> Labels:
    import h5py

    keypoints = read_array(path, "part", OBTAIN)
    check_shape(keypoints, (None, 11, 2), path, "part")
    inputs = {name: read_array(path, name, OBTAIN) for name in ("center", "scale")}
    check_shape(inputs["center"], (len(keypoints), 2), path, "center")
    inputs["center"] = inputs["center"] - 1
    with h5py.File(path) as file:
        images = [name.decode() for name in file["imgname"][()]]
    return keypoints, images, inputs
