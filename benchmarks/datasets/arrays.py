"""Numeric arrays in .npz, .mat, .h5 and .json files, and keypoints read from them.

Every error names the file, the array, the record and what to do about it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.records import read_json
from harness.api import PrerequisiteError, Skeleton

NEUTRAL = "Write numpy.savez(PATH, predictions=array) with array of shape N x K x 2."
NESTED = "Write a list of people, each a list of joints [x, y] or [null, null]."


def read_array(path: Path, name: str, remedy: str) -> NDArray[np.float64]:
    """Read one array by its name from a .npz, .mat or .h5 file, as float64.

    A .mat file of version 7.3 is HDF5; its axes are turned back to MATLAB's order.

    Raises
    ------
    PrerequisiteError
        If the file is missing or damaged, or has no numeric array of that name.
    """
    read = {".npz": _from_npz, ".mat": _from_mat, ".h5": _from_h5}[path.suffix.lower()]
    if not path.is_file():
        raise PrerequisiteError(f"{path} does not exist.", remedy)
    try:
        found = read(path, name)
    except KeyError as error:
        raise PrerequisiteError(
            f"{path} has no array {name!r}, only: {', '.join(error.args[0]) or 'nothing'}.", remedy
        ) from None
    except Exception as error:  # a damaged file fails in as many ways as there are readers
        raise PrerequisiteError(f"{path} cannot be read: {error}.", remedy) from error
    if found.dtype.kind not in "buif":
        raise PrerequisiteError(f"{path}: {name!r} holds no numbers but {found.dtype}.", remedy)
    return found.astype(np.float64)


def read_nested(path: Path, remedy: str, key: str | None = None) -> NDArray[np.float64]:
    """Read nested JSON lists of numbers as one array; null becomes NaN.

    With a ``key`` the lists are that value of a JSON object.

    Raises
    ------
    PrerequisiteError
        If the lists are of unequal lengths or hold anything but numbers.
    """
    content = read_json(path, remedy)
    if key is not None:
        if not isinstance(content, dict) or key not in content:
            raise PrerequisiteError(f"{path} is no object with {key!r}.", remedy)
        content = content[key]
    try:
        return np.array(content, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PrerequisiteError(
            f"{path}: the lists do not make one array of numbers: {error}.", remedy
        ) from None


def check_keypoints(
    keypoints: NDArray[np.float64],
    path: Path,
    count: int,
    skeleton: Skeleton,
    *,
    may_miss: bool,
) -> None:
    """Make sure that predictions made elsewhere are (count, K, 2) in pixels.

    ``may_miss``: whether single joints may be NaN, "not predicted". Official formats lack a joint
    for everybody or for nobody.

    Raises
    ------
    PrerequisiteError
        Naming the file, the shape or the first wrong record, and the remedy.
    """
    expected = (count, len(skeleton), 2)
    order = f"Joint order: {' '.join(skeleton.joints)}."
    if keypoints.shape != expected:
        raise PrerequisiteError(
            f"{path}: predictions have shape {keypoints.shape}, due is {expected}"
            f"{_guess(keypoints.shape, expected)}.",
            f"Give x, y of {len(skeleton)} joints for all {count} people, in the split's order. "
            + order,
        )
    missing = np.isnan(keypoints)
    bad = np.isinf(keypoints) | (missing != missing[..., ::-1])  # also x without y
    if not may_miss:
        bad |= missing & ~missing.all(axis=0)
    if bad.any():
        person, joint, _ = np.argwhere(bad)[0]
        raise PrerequisiteError(
            f"{path}: person {person}, {skeleton.joints[joint]}: {keypoints[person, joint]} "
            f"({int(bad.any(axis=-1).sum())} such joints).",
            "Give finite pixels. In .npz files x = y = NaN says that a joint is not predicted.",
        )
    extent = np.nanmax(np.abs(keypoints), initial=0.0)
    if 0 < extent <= 2:
        raise PrerequisiteError(
            f"{path}: no coordinate is beyond {extent:.3g}; they look divided by the image size.",
            "Give coordinates in pixels of the original image.",
        )


def _guess(shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    if len(shape) == 3 and sorted(shape) == sorted(expected):
        return ": it looks transposed"
    if len(shape) != 3:
        return f": {len(shape)} axes where 3 are due"
    wrong = [
        f"{got} {what} where {due} are due"
        for got, due, what in zip(shape, expected, ("people", "joints", "coordinates"), strict=True)
        if got != due
    ]
    return ": " + ", ".join(wrong)


def _from_npz(path: Path, name: str) -> NDArray[np.float64]:
    with np.load(path, allow_pickle=False) as file:
        if name not in file:
            raise KeyError(file.files)
        return np.asarray(file[name])


def _from_mat(path: Path, name: str) -> NDArray[np.float64]:
    import h5py
    import scipy.io

    if h5py.is_hdf5(path):
        return _from_h5(path, name).T
    names = [entry[0] for entry in scipy.io.whosmat(path)]
    if name not in names:
        raise KeyError(names)
    return np.asarray(scipy.io.loadmat(path, variable_names=[name])[name])


def _from_h5(path: Path, name: str) -> NDArray[np.float64]:
    import h5py

    with h5py.File(path) as file:
        if name not in file:
            raise KeyError(list(file))
        return np.asarray(file[name])
