"""Hands in depth images: NYU, ICVL and MSRA, in their own files and in those of the public
evaluation (xinghaochen/awesome-hand-pose-estimation), which are rows of u v d.

u and v are pixels of the depth image, 0-based; d is the depth in millimetres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.arrays import read_array
from benchmarks.datasets.records import read_json
from benchmarks.datasets.single_person import make_dataset
from harness.api import Dataset, PrerequisiteError, Skeleton

NYU_ROWS = (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32)
"""The 14 of NYU's 36 annotated points that everybody scores."""

SUBJECTS = tuple(f"P{number}" for number in range(9))
"""Subjects of MSRA, each left out once."""

MSRA_FOLDER = "cvpr15_MSRAHandGestureDB"
"""Of MSRA's own tree."""

GESTURES = (*"123456789", "I", "IP", "L", "MP", "RP", "T", "TIP", "Y")
_MSRA_FOCAL, _MSRA_CENTRE = 241.42, (160.0, 120.0)
_PUBLISHED = "Use the file as it was published."


@dataclass(frozen=True, eq=False)
class Hands:
    """One hand per frame.

    Parameters
    ----------
    uvd : array (n, K, 3)
        Pixel, pixel, millimetre.
    images : tuple of str
        Depth image of each frame; empty where the files do not name it.
    subject : int array (n,), optional
        Who it is, where the benchmark asks.
    """

    uvd: NDArray[np.float64]
    images: tuple[str, ...] = ()
    subject: NDArray[np.int64] | None = None


def _dataset(
    benchmark: str, root: Path, files: Sequence[str], ids: Sequence[str], hands: Hands
) -> Dataset:
    missing = ~np.isfinite(hands.uvd).all(axis=(1, 2))
    if missing.any():
        raise PrerequisiteError(
            f"{root / files[0]}: the true hand of {ids[int(missing.argmax())]} is not finite "
            f"({missing.sum()} such frames).",
            _PUBLISHED,
        )
    return make_dataset(benchmark, "test", root, files, ids, hands)


def label_file(name: str) -> str:
    """Return the label file of the public evaluation: ``nyu``, ``icvl`` or ``msra``."""
    return f"groundtruth/{name}/{name}_test_groundtruth_label.txt"


def list_file(name: str) -> str:
    """Return the file beside it that names the frames; optional."""
    return f"groundtruth/{name}/{name}_test_list.txt"


def load_public(root: Path, name: str, skeleton: Skeleton) -> Dataset:
    """Read the label file of the public evaluation, with the frames' names if they are there."""
    path, names = root / label_file(name), root / list_file(name)
    uvd = read_rows(path, len(skeleton))
    files, ids = [label_file(name)], [f"{index:06d}" for index in range(len(uvd))]
    images: tuple[str, ...] = ()
    if names.is_file():
        files.append(list_file(name))
        listed = [line.strip() for line in names.read_text(encoding="utf-8").splitlines()]
        ids = [line for line in listed if line]
        if len(ids) != len(uvd) or len(set(ids)) != len(ids):
            raise PrerequisiteError(
                f"{names} names {len(ids)} frames ({len(set(ids))} different), {path} has "
                f"{len(uvd)} rows.",
                _PUBLISHED,
            )
        images = tuple(str(root / one) for one in ids)
    subject = None
    if name == "msra":
        subject, used = _subjects(root, ids)
        files += used
    return _dataset(f"{name}-hand", root, files, ids, Hands(uvd, images, subject))


def load_nyu(root: Path) -> Dataset:
    """Read NYU's own ``test/joint_data.mat``: 14 of 36 points, camera view 1."""
    path = root / "test" / "joint_data.mat"
    uvd = read_array(path, "joint_uvd", _PUBLISHED)
    if uvd.ndim != 4 or uvd.shape[2:] != (36, 3):
        raise PrerequisiteError(
            f"{path}: joint_uvd has shape {uvd.shape}, due is (views, frames, 36, 3).", _PUBLISHED
        )
    ids = [f"test/depth_1_{number:07d}.png" for number in range(1, uvd.shape[1] + 1)]
    hands = Hands(uvd[0][:, NYU_ROWS], tuple(str(root / one) for one in ids))
    return _dataset("nyu-hand", root, ["test/joint_data.mat"], ids, hands)


def load_icvl(root: Path, skeleton: Skeleton) -> Dataset:
    """Read ICVL's own two test sequences: rows of image name and u v d."""
    files = [f"Testing/test_seq_{number}.txt" for number in (1, 2)]
    ids: list[str] = []
    rows: list[str] = []
    for file in files:
        for line in _lines(root / file):
            name, _, numbers = line.strip().partition(" ")
            ids.append(name)
            rows.append(numbers)
    uvd = _numbers(rows, root / files[0], len(skeleton))
    images = tuple(str(root / "Testing" / "Depth" / one) for one in ids)
    return _dataset("icvl-hand", root, files, ids, Hands(uvd, images))


def load_msra(root: Path, skeleton: Skeleton) -> Dataset:
    """Read MSRA's own tree: ``P0/1/joint.txt``, a count and rows of x y z mm (y up, z < 0)."""
    files, ids, points, subject = [], [], [], []
    for number, person in enumerate(SUBJECTS):
        for gesture in GESTURES:
            path = root / MSRA_FOLDER / person / gesture / "joint.txt"
            count, *rows = [line for line in _lines(path) if line.strip()]
            xyz = _numbers(rows, path, len(skeleton))
            if count.strip() != str(len(xyz)):
                raise PrerequisiteError(f"{path}: {len(xyz)} rows, {count} announced.", _PUBLISHED)
            files.append(path.relative_to(root).as_posix())
            ids += [f"{person}/{gesture}/{frame:06d}" for frame in range(len(xyz))]
            subject += [number] * len(xyz)
            points.append(xyz)
    xyz = np.concatenate(points)
    depth = -xyz[..., 2]
    u = _MSRA_CENTRE[0] + xyz[..., 0] * _MSRA_FOCAL / depth
    v = _MSRA_CENTRE[1] - xyz[..., 1] * _MSRA_FOCAL / depth
    images = tuple(str(root / MSRA_FOLDER / f"{one}_depth.bin") for one in ids)
    hands = Hands(np.stack([u, v, depth], axis=-1), images, np.array(subject, dtype=np.int64))
    return _dataset("msra-hand", root, files, ids, hands)


def is_msra_tree(root: Path) -> bool:
    """Say whether MSRA's own tree is below ``root``."""
    return (root / MSRA_FOLDER).is_dir()


def read_rows(path: Path, joints: int) -> NDArray[np.float64]:
    """Read a text file of rows u v d u v d ...: (n, joints, 3).

    Raises
    ------
    PrerequisiteError
        Naming the file, the line and what is wrong with it.
    """
    return _numbers([line for line in _lines(path) if line.strip()], path, joints)


def read_centres(path: Path, count: int) -> NDArray[np.float64]:
    """Read where the hand is in every frame: lines of x y z in millimetres, (count, 3).

    Raises
    ------
    PrerequisiteError
        If there is not one centre a frame; V2V-PoseNet marks frames without one as ``invalid``.
    """
    rows = [line for line in _lines(path) if line.strip()]
    bad = next((i for i, row in enumerate(rows) if "invalid" in row), None)
    if bad is not None or len(rows) != count:
        found = f"line {bad + 1} is invalid" if bad is not None else f"{len(rows)} lines"
        raise PrerequisiteError(
            f"{path}: {found}; the split has {count} frames.",
            "Give one line x y z in millimetres for every frame.",
        )
    return _numbers(rows, path, 1)[:, 0]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrerequisiteError(f"{path} cannot be read: {error}.", _PUBLISHED) from error


def _numbers(rows: Sequence[str], path: Path, joints: int) -> NDArray[np.float64]:
    remedy = f"Every line holds {3 * joints} numbers, {joints} joints x 3, separated by blanks."
    parts = [row.split() for row in rows]
    wrong = next((i for i, part in enumerate(parts) if len(part) != 3 * joints), None)
    if wrong is not None or not parts:
        found = (
            f"row {wrong + 1} has {len(parts[wrong])} numbers" if wrong is not None else "no row"
        )
        raise PrerequisiteError(f"{path}: {found}.", remedy)
    try:
        values = np.array(parts, dtype=np.float64)
    except ValueError as error:
        raise PrerequisiteError(f"{path}: {error}.", remedy) from None
    return values.reshape(-1, joints, 3)


def _subjects(root: Path, ids: Sequence[str]) -> tuple[NDArray[np.int64] | None, list[str]]:
    """Return whose frame each is, from subjects.json or the frames' names, and the file used."""
    path = root / "subjects.json"
    if path.is_file():
        remedy = "Give an object with 'frames': the number of frames of P0 to P8, in the row order."
        content = read_json(path, remedy)
        counts = content.get("frames") if isinstance(content, dict) else None
        if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
            raise PrerequisiteError(f"{path} has no list 'frames' of whole numbers.", remedy)
        if len(counts) > len(SUBJECTS) or sum(counts) != len(ids):
            raise PrerequisiteError(
                f"{path}: {len(counts)} subjects with {sum(counts)} frames, the labels have "
                f"{len(ids)} rows.",
                remedy,
            )
        return np.repeat(np.arange(len(counts)), counts), ["subjects.json"]
    first = [one.split("/")[0] for one in ids]
    if set(first) <= set(SUBJECTS):
        return np.array([SUBJECTS.index(one) for one in first], dtype=np.int64), []
    return None, []
