"""Body meshes: per-vertex error and the errors of joints regressed from the mesh.

Evaluated as GraphCMR does (Kolotouros, Pavlakos, Daniilidis, CVPR 2019; its ``eval.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import meshes as official
from benchmarks.datasets.arrays import read_array
from benchmarks.datasets.meshes import OBTAIN, Meshes, read_vertices
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
    Skeleton,
    Statistics,
    quirk,
    require_skeleton,
)
from harness.api.skeleton import H36M_14, H36M_17_REGRESSOR

_REMEDY = (
    "Write numpy.savez(PATH, predictions=array) with the vertices (N, V, 3) in millimetres, in the "
    "split's order, or mesh.json with 'unit' and 'pred_vertices'."
)


@dataclass(frozen=True, kw_only=True)
class MeshProtocol(Protocol):
    """How two meshes are compared."""

    benchmark: str = quirk("The benchmark that this protocol scores.", default="h36m-mesh")
    box_source: str = quirk(
        "Where the boxes come from that a method is given.", default="ground truth"
    )
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
    obtain: ClassVar[str] = OBTAIN
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
    embedded_split = "embedded-val"

    def layout(self, split: str) -> str:
        return official.LAYOUT

    def splits(self, root: Path) -> tuple[str, ...]:
        return official.splits(root)

    def load(self, root: Path, split: str) -> Dataset:
        return official.load(root, split)

    def make_embedded(self, root: Path, split: str, progress: Callable[[int, int], None]) -> Path:
        from benchmarks.world.meshes import make_split

        return make_split(root, split, progress)

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        """Return the pictures, each with the box of its person."""
        if detections is not None:
            raise PrerequisiteError(
                f"Body meshes take no detections ({detections}): the person is known.",
                "Leave the box source out.",
            )
        truth: Meshes = dataset.truth
        if not truth.images or truth.boxes is None:
            raise PrerequisiteError(
                f"Body meshes: the file below {dataset.root} names no images for a method.",
                "Score predictions made elsewhere with harness score h36m-mesh, or write mesh.npz "
                f"with imgname and box.\n{official.LAYOUT}",
            )
        return [
            Sample(sample_id, (truth.images[i],), truth.boxes[i : i + 1], np.ones(1))
            for i, sample_id in enumerate(dataset.sample_ids)
        ]

    def training_samples(
        self, dataset: Dataset, skeleton: Skeleton
    ) -> list[tuple[Sample, Mapping[str, NDArray[Any]]]]:
        """Return the pictures; their truth holds the mesh and the body model's parameters as well.

        ``vertices`` (1, V, 3) and ``joints`` (1, 17, 3), those that are regressed from them, in
        millimetres; ``pose`` (1, J, 3), axis-angles, and ``shape`` (1, B).
        """
        require_skeleton(self, skeleton)
        truth: Meshes = dataset.truth
        samples = self.samples(dataset, self.protocol())
        if truth.keypoints is None or truth.pose is None or truth.shape is None:
            raise PrerequisiteError(
                f"The file below {dataset.root} has no part, pose and shape.",
                f"Training needs them.\n{official.LAYOUT}",
            )
        joints = truth.regressor @ truth.vertices
        return [
            (
                sample,
                {
                    "keypoints": truth.keypoints[i, None],
                    "visible": np.ones((1, len(skeleton)), dtype=np.bool_),
                    "joints": joints[i, None],
                    "vertices": truth.vertices[i, None],
                    "pose": truth.pose[i, None],
                    "shape": truth.shape[i, None],
                },
            )
            for i, sample in enumerate(samples)
        ]

    def poses(self, dataset: Dataset) -> Mapping[str, NDArray[np.float64]]:
        """Return the joints (1, 17, 3) that are regressed from each mesh, millimetres."""
        truth: Meshes = dataset.truth
        joints = truth.regressor @ truth.vertices
        samples = self.samples(dataset, self.protocol())  # without pictures there is nothing to see
        return {sample.id: joints[i, None] for i, sample in enumerate(samples)}

    def faces(self, dataset: Dataset) -> NDArray[np.int64] | None:
        truth: Meshes = dataset.truth
        return truth.faces

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read ``pred_vertices`` of ``mesh.json``, or ``.npz`` in millimetres."""
        truth: Meshes = dataset.truth
        if path.suffix == ".json":
            vertices = read_vertices(path, "pred_vertices")
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
