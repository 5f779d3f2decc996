"""Leeds Sports Poses: 2000 people, the last thousand of them the test set.

- ``joints.mat``, person-centric labels, and ``joints-OC.mat``, observer-centric ones: ``joints``
  (3, 14, 2000), rows x, y and a flag. Left and right differ between the two files.
- ``joints.json``, ``joints-OC.json``: ``{"joints": [person][joint][x, y, flag]}``, test people
  only; ``images``, the names of their pictures, may be given beside it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.datasets.arrays import read_array, read_nested
from benchmarks.datasets.records import read_json
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

PERSON_CENTRIC = ("joints.mat", "joints.json")
OBSERVER_CENTRIC = ("joints-OC.mat", "joints-OC.json")
OBTAIN = (
    "Pictures and person-centric labels: Leeds Sports Pose dataset of S. Johnson and M. Everingham "
    "(for research). Observer-centric labels: L. Pishchulin et al., ICCV 2013, as in "
    "bearpaw/eval_pose (GPL-2.0)."
)
LAYOUT = """joints.mat                person-centric labels
joints-OC.mat             observer-centric labels, for the protocol observer-centric
images/im0001.jpg ...     pictures, to run methods"""


def layout(split: str) -> str:
    """Return the files of the benchmark's only split below the root."""
    return LAYOUT


def splits(root: Path) -> tuple[str, ...]:
    """Return the splits whose annotation is below ``root``."""
    return ("test",) if present(root, PERSON_CENTRIC + OBSERVER_CENTRIC) else ()


def load(root: Path, split: str) -> Dataset:
    """Read the test people's labels from all annotation files that are there."""
    if split not in splits(root):
        raise missing(root, "lsp", LAYOUT, OBTAIN)
    names = present(root, PERSON_CENTRIC + OBSERVER_CENTRIC)
    people = {name: _read(root / name) for name in names}
    counts = {name: len(labels) for name, labels in people.items()}
    if len(set(counts.values())) > 1:
        raise PrerequisiteError(
            f"{root}: the annotation files hold different numbers of test people: {counts}.",
            "Keep the files of one data set in a folder.",
        )
    first = people[names[0]]
    named = any(name.endswith(".mat") for name in names)  # these hold the archive's 2000 pictures
    ids = [f"im{1001 + i}" if named else f"{i:04d}" for i in range(len(first))]
    files = [f"{name}.jpg" for name in ids] if named else _pictures(root / names[0], len(first))
    views = Views([str(root / "images" / name) for name in files], extent(first.keypoints))
    return make_dataset("lsp", split, root, names, ids, Truth(people, views))


def _pictures(path: Path, count: int) -> list[str]:
    """Return the pictures' names that a .json file may give."""
    names = read_json(path, LAYOUT).get("images", [])
    if len(names) not in (0, count) or not all(isinstance(name, str) for name in names):
        raise PrerequisiteError(
            f"{path}: 'images' has {len(names)} entries for {count} people.",
            "Give the file name of every person's picture, or none.",
        )
    return list(names)


def _read(path: Path) -> People:
    if path.suffix == ".mat":
        joints = read_array(path, "joints", OBTAIN)
        check_shape(joints, (3, 14, 2000), path, "joints")
        people = joints[:, :, 1000:].transpose(2, 1, 0)
    else:
        people = read_nested(path, LAYOUT, "joints")
        check_shape(people, (None, 14, 3), path, "joints")
    keypoints = people[..., :2] - 1
    if not np.isfinite(keypoints).all():
        person, joint, _ = np.argwhere(~np.isfinite(keypoints))[0]
        raise PrerequisiteError(
            f"{path}: test person {person} has no finite place for joint {joint}.",
            "Use the file as it was published: all 14 joints of everyone are labelled.",
        )
    return People(keypoints)
