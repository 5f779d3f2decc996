"""Body meshes on disk: one file of true vertices, with pictures of them or without.

The files are the user's own: neither a body model nor what is made of it may be handed on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.arrays import read_nested
from benchmarks.datasets.records import read_json
from benchmarks.datasets.single_person import make_dataset
from benchmarks.world.marker import NAME as MARKER
from benchmarks.world.marker import is_made
from harness.api import Dataset, PrerequisiteError
from harness.api.skeleton import H36M_17_REGRESSOR

_UNITS = {"metre": 1000.0, "mm": 1.0}
_FILES = ("mesh.npz", "mesh.json")

OBTAIN = (
    "Make mesh.json or mesh.npz from your licensed body model: its vertices posed by the ground "
    "truth, and its Human3.6M joint regressor. Neither may be handed on."
)
LAYOUT = """\
one of
  mesh.json   gt_vertices (n, V, 3), J_regressor_h36m (17, V), unit 'metre' or 'mm'
  mesh.npz    the same arrays; for methods that look at pictures also imgname (n,) below the
              folder and box (n, 4) x, y, w, h in pixels; to train them part (n, 17, 2), the
              joints in pixels, pose (n, 3 J), axis-angles, and shape (n, B) of the body model;
              to draw meshes f (F, 3), the triangles"""


@dataclass(frozen=True, eq=False)
class Meshes:
    """True meshes, the regressor that makes joints of them, and their pictures.

    Parameters
    ----------
    vertices : array (n, V, 3)
        Millimetres, model space.
    regressor : array (17, V)
        Joints in the order of ``h36m-17-regressor``: the left leg first.
    images : tuple of str
        Path of each picture; empty where the file names none.
    boxes : array (n, 4), optional
        x, y, w, h in pixels.
    keypoints : array (n, 17, 2), optional
        The joints in pixels.
    pose : array (n, J, 3), optional
        Axis-angles of the body model's joints, each relative to its parent.
    shape : array (n, B), optional
        Of the body model.
    faces : int array (F, 3), optional
        Triangles of the mesh.
    """

    vertices: NDArray[np.float64]
    regressor: NDArray[np.float64]
    images: tuple[str, ...] = ()
    boxes: NDArray[np.float64] | None = None
    keypoints: NDArray[np.float64] | None = None
    pose: NDArray[np.float64] | None = None
    shape: NDArray[np.float64] | None = None
    faces: NDArray[np.int64] | None = None


def splits(root: Path) -> tuple[str, ...]:
    """Return the splits whose files are below ``root``."""
    own = ("test",) if any((root / name).is_file() for name in _FILES) else ()
    return own + tuple(path.parent.name for path in sorted(root.glob(f"embedded-*/{MARKER}")))


def load(root: Path, split: str) -> Dataset:
    """Read a split.

    Raises
    ------
    PrerequisiteError
        If it is not there, or an array of it is wrong.
    """
    if split.startswith("embedded") and is_made(root / split):
        return replace(load(root / split, "test"), split=split, root=root, synthetic=True)
    path = next((root / name for name in _FILES if (root / name).is_file()), None)
    if split != "test" or path is None:
        raise PrerequisiteError(
            f"Body meshes: no split {split!r} below {root}.", f"Expected {LAYOUT}\n{OBTAIN}"
        )
    truth = _read_npz(path) if path.suffix == ".npz" else _read_json(path)
    _check(path, "gt_vertices", truth.vertices, (None, None, 3))
    count, vertices = truth.vertices.shape[:2]
    _check(path, "J_regressor_h36m", truth.regressor, (len(H36M_17_REGRESSOR), vertices))
    if truth.images and len(truth.images) != count:
        raise PrerequisiteError(f"{path}: {len(truth.images)} names in imgname, {count} meshes.",
                                "Name one picture for each mesh.")  # fmt: skip
    for name, values, size in (
        ("box", truth.boxes, (4,)),
        ("part", truth.keypoints, (len(H36M_17_REGRESSOR), 2)),
        ("pose", truth.pose, (None, 3)),
        ("shape", truth.shape, (None,)),
    ):
        if values is not None:
            _check(path, name, values, (count, *size))
    ids = [f"{index:06d}" for index in range(count)]
    return make_dataset("h36m-mesh", split, root, [path.name], ids, truth)


def read_vertices(path: Path, key: str) -> NDArray[np.float64]:
    """Read meshes (n, V, 3) of ``mesh.json`` in millimetres.

    Raises
    ------
    PrerequisiteError
        If the file has no such array, or no unit.
    """
    content = read_json(path, LAYOUT)
    scale = _scale(path, content.get("unit") if isinstance(content, dict) else None)
    vertices = read_nested(path, LAYOUT, key)
    if vertices.ndim != 3 or vertices.shape[2] != 3:
        raise PrerequisiteError(
            f"{path}: {key} has shape {vertices.shape}, due is (n, V, 3).", LAYOUT
        )
    return vertices * scale


def _read_json(path: Path) -> Meshes:
    regressor = read_nested(path, LAYOUT, "J_regressor_h36m")
    return Meshes(read_vertices(path, "gt_vertices"), regressor)


def _read_npz(path: Path) -> Meshes:
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        scale = _scale(path, str(content["unit"]))
        vertices = scale * content["gt_vertices"].astype(np.float64)
        regressor = content["J_regressor_h36m"].astype(np.float64)
        names = [str(name) for name in content.get("imgname", ())]
        box, part, pose, shape = (
            content[name].astype(np.float64) if name in content else None
            for name in ("box", "part", "pose", "shape")
        )
        faces = content["f"].astype(np.int64) if "f" in content else None
    except (OSError, KeyError, ValueError) as error:
        raise PrerequisiteError(f"{path} cannot be read: {error}.", f"Expected {LAYOUT}") from error
    return Meshes(
        vertices,
        regressor,
        tuple(str(path.parent / name) for name in names),
        box,
        part,
        None if pose is None else pose.reshape(len(pose), -1, 3),
        shape,
        faces,
    )


def _scale(path: Path, unit: str | None) -> float:
    """Return how many millimetres a unit is."""
    if unit not in _UNITS:
        raise PrerequisiteError(f"{path}: unit is {unit!r}.", "Give 'metre' or 'mm'.")
    return _UNITS[unit]


def _check(path: Path, name: str, values: NDArray[np.float64], due: tuple[int | None, ...]) -> None:
    """Make sure that an array has its shape, None for any size, and is finite."""
    same = len(values.shape) == len(due) and all(
        size in (None, own) for own, size in zip(values.shape, due, strict=True)
    )
    if not same:
        wanted = ", ".join("any" if size is None else str(size) for size in due)
        raise PrerequisiteError(
            f"{path}: {name} has shape {values.shape}, due is ({wanted}).", f"Expected {LAYOUT}"
        )
    if not np.isfinite(values).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise PrerequisiteError(
            f"{path}: {name} is not all finite, first at {first}.", "Every number must be finite."
        )
