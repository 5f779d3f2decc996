"""Body meshes: per-vertex error and the errors of joints regressed from the mesh.

Evaluated as GraphCMR does (Kolotouros, Pavlakos, Daniilidis, CVPR 2019; its ``eval.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.arrays import read_array, read_nested
from benchmarks.datasets.records import read_json
from benchmarks.datasets.single_person import make_dataset
from benchmarks.metrics.averages import mean
from benchmarks.metrics.joint_error import centred, distances
from benchmarks.metrics.procrustes import align
from benchmarks.protocols.three_dimensions import check_size, shape_error
from harness.api import (
    MESH,
    Benchmark,
    Column,
    Dataset,
    Predictions,
    PrerequisiteError,
    Protocol,
    Sample,
    Statistics,
    quirk,
)
from harness.api.skeleton import H36M_14, H36M_17_REGRESSOR

_FILE = "mesh.json"
_UNITS = {"metre": 1000.0, "mm": 1.0}
_REMEDY = (
    "Write numpy.savez(PATH, predictions=array) with the vertices (N, V, 3) in millimetres, in the "
    "split's order, or mesh.json with 'unit' and 'pred_vertices'."
)


@dataclass(frozen=True, eq=False)
class Meshes:
    """True meshes and the regressor that makes joints of them.

    Parameters
    ----------
    vertices : array (n, V, 3)
        Millimetres, model space.
    regressor : array (17, V)
        Joints in the order of ``h36m-17-regressor``: the left leg first.
    """

    vertices: NDArray[np.float64]
    regressor: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MeshProtocol(Protocol):
    """How two meshes are compared."""

    benchmark: str = quirk("The benchmark that this protocol scores.", default="h36m-mesh")
    joints: tuple[str, ...] = quirk(
        "Joints of the regressor that count in mpjpe and reconstruction_error.",
        default=H36M_14.joints,
    )
    root: str = quirk(
        "Regressed joint that is subtracted from each pose and, for pve_root, from each mesh.",
        default="pelvis",
    )
    alignment: str = quirk(
        "What reconstruction_error fits to the joints and pve_pa to the vertices.",
        default="similarity without reflection, each frame by itself",
    )
    unaligned: str = quirk(
        "pve: mean distance of the vertices.", default="nothing is subtracted (model space)"
    )


class H36MMesh(Benchmark):
    """Meshes of one topology with known truth: PVE under three alignments, and joint errors."""

    name: ClassVar[str] = "h36m-mesh"
    title: ClassVar[str] = "Body meshes"
    citation: ClassVar[str] = (
        "Kolotouros, Pavlakos, Daniilidis: Convolutional Mesh Regression for Single-Image Human "
        "Shape Reconstruction. CVPR 2019"
    )
    obtain: ClassVar[str] = (
        "Make mesh.json from your licensed body model: its vertices posed by the ground truth, and "
        "its Human3.6M joint regressor. Neither may be handed on."
    )
    schema = MESH
    skeleton = H36M_17_REGRESSOR
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "mesh": MeshProtocol(variant="mesh", title="GraphCMR: joints of the mesh, and PVE")
    }
    columns = (
        Column("mpjpe", "MPJPE", higher_is_better=False),
        Column("reconstruction_error", "Rec. error", higher_is_better=False),
        Column("pve", "PVE", higher_is_better=False),
        Column("pve_root", "PVE (root)", higher_is_better=False),
        Column("pve_pa", "PVE (PA)", higher_is_better=False),
    )
    primary = "mpjpe"
    default_split = "test"

    def layout(self, split: str) -> str:
        return f"{_FILE}   gt_vertices (n, V, 3), J_regressor_h36m (17, V), unit 'metre' or 'mm'"

    def splits(self, root: Path) -> tuple[str, ...]:
        return ("test",) if (root / _FILE).is_file() else ()

    def load(self, root: Path, split: str) -> Dataset:
        path = root / _FILE
        if split != "test" or not path.is_file():
            raise PrerequisiteError(
                f"Body meshes: no split {split!r} below {root}.",
                f"Expected {self.layout(split)}\n{self.obtain}",
            )
        vertices = _vertices(path, "gt_vertices")
        if not np.isfinite(vertices).all():
            raise PrerequisiteError(f"{path}: gt_vertices are not all finite.", self.layout(split))
        regressor = read_nested(path, self.layout(split), "J_regressor_h36m")
        if regressor.shape != (len(H36M_17_REGRESSOR), vertices.shape[1]):
            raise PrerequisiteError(
                f"{path}: J_regressor_h36m has shape {regressor.shape}, due is "
                f"(17, {vertices.shape[1]}).",
                "Give one row a joint and one column a vertex.",
            )
        ids = [f"{index:06d}" for index in range(len(vertices))]
        return make_dataset(self.name, split, root, [_FILE], ids, Meshes(vertices, regressor))

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        raise PrerequisiteError(
            "Body meshes: mesh.json names no images for a method.",
            "Score predictions made elsewhere with harness score h36m-mesh.",
        )

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read ``pred_vertices`` of ``mesh.json``, or ``.npz`` in millimetres."""
        truth: Meshes = dataset.truth
        if path.suffix == ".json":
            vertices = _vertices(path, "pred_vertices")
        elif path.suffix == ".npz":
            vertices = read_array(path, "predictions", _REMEDY)
        else:
            raise PrerequisiteError(f"{path} is neither .json nor .npz.", _REMEDY)
        if vertices.shape != truth.vertices.shape:
            raise shape_error(vertices.shape, truth.vertices.shape, path, _REMEDY)
        if not np.isfinite(vertices).all():
            mesh, vertex, _ = np.argwhere(~np.isfinite(vertices))[0]
            raise PrerequisiteError(
                f"{path}: mesh {mesh}, vertex {vertex}: {vertices[mesh, vertex]}.",
                "Every vertex must be finite.",
            )
        check_size(vertices, truth.vertices, str(path))
        return Predictions(
            MESH,
            dataset.sample_ids,
            np.arange(len(vertices) + 1),
            {"vertices": vertices, "joints": truth.regressor @ vertices},
        )

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        """Measure every mesh; one column (n,) per metric."""
        rules, truth = cast("MeshProtocol", protocol), cast("Meshes", dataset.truth)
        place = {sample_id: i for i, sample_id in enumerate(dataset.sample_ids)}
        position = np.array([place[i] for i in predictions.sample_ids], dtype=np.int64)
        if not (np.diff(predictions.offsets) == 1).all():
            raise PrerequisiteError(
                "A sample has not exactly one mesh.", "Predict one person for every sample."
            )
        there, away = truth.vertices[position], predictions.columns["vertices"]
        names = H36M_17_REGRESSOR.joints
        rows, root = [names.index(joint) for joint in rules.joints], names.index(rules.root)
        true_joints, joints = truth.regressor @ there, truth.regressor @ away
        # Not [:, rows]: that turns the memory order, and with it the sums of a single mesh.
        true_pose, pose = (
            np.take(centred(regressed, [root]), rows, axis=1) for regressed in (true_joints, joints)
        )
        pairs = {
            "mpjpe": (pose, true_pose),
            "reconstruction_error": (align(pose, true_pose), true_pose),
            "pve": (away, there),
            "pve_root": (away - joints[:, [root]], there - true_joints[:, [root]]),
            "pve_pa": (align(away, there), there),
        }
        return Statistics(position, {k: distances(*v).mean(axis=1) for k, v in pairs.items()})

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        once = np.ones(len(statistics), dtype=np.int64) if weights is None else np.asarray(weights)
        values = self.resample(statistics, protocol, once[None])
        return {name: float(value[0]) for name, value in values.items()}

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        order = np.argsort(statistics.position, kind="stable")
        return {
            name: mean(statistics.dense(name)[order], weights[:, order])
            for name in statistics.columns
        }

    def per_sample(
        self, statistics: Statistics, protocol: Protocol
    ) -> dict[str, NDArray[np.float64]]:
        return {name: statistics.dense(name) for name in ("pve", "mpjpe")}


def _vertices(path: Path, key: str) -> NDArray[np.float64]:
    """Read meshes (n, V, 3) in millimetres from mesh.json."""
    content = read_json(path, _REMEDY)
    unit = content.get("unit") if isinstance(content, dict) else None
    if unit not in _UNITS:
        raise PrerequisiteError(f"{path}: unit is {unit!r}.", "Give 'metre' or 'mm'.")
    vertices = read_nested(path, _REMEDY, key)
    if vertices.ndim != 3 or vertices.shape[2] != 3:
        raise PrerequisiteError(
            f"{path}: {key} has shape {vertices.shape}, due is (n, V, 3).", _REMEDY
        )
    return vertices * _UNITS[unit]
