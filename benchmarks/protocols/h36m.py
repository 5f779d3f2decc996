"""Human3.6M: 3D joint errors of single frames and videos (Ionescu et al., PAMI 2014)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import h36m as official
from benchmarks.datasets.arrays import read_array
from benchmarks.datasets.h36m import ACTIONS, Poses
from benchmarks.metrics.joint_error import success
from benchmarks.protocols.h36m_errors import frame_errors, needed_joints
from benchmarks.protocols.h36m_numbers import SequenceErrors
from benchmarks.protocols.h36m_rules import PROTOCOLS, H36MProtocol
from benchmarks.protocols.three_dimensions import check_poses, shape_error
from harness.api import (
    JOINTS_3D,
    Benchmark,
    Column,
    Curve,
    Dataset,
    Predictions,
    PrerequisiteError,
    Protocol,
    Ragged,
    Sample,
    Skeleton,
    Statistics,
    require_skeleton,
)
from harness.api.skeleton import H36M_14, H36M_17

_HEADERS = {
    "Directions": "Direct.", "Discussion": "Discuss", "Eating": "Eat", "Greeting": "Greet",
    "Phoning": "Phone", "TakingPhoto": "Photo", "Posing": "Pose", "Purchases": "Purch.",
    "Sitting": "Sit", "SittingDown": "SitD", "Smoking": "Smoke", "Waiting": "Wait",
    "WalkingDog": "WalkD", "Walking": "Walk", "WalkTogether": "WalkT",
}  # fmt: skip
"""Actions in the order of the papers' tables, which is not that of the data set."""

_REMEDY = (
    "Write numpy.savez(PATH, predictions=array): millimetres, one row for every frame of the "
    "split (or for every frame that the protocol scores), in the split's order, joints: "
    f"{' '.join(H36M_17.joints)}."
)
_PELVIS = H36M_17.joints.index("pelvis")
_ROWS_OF_14 = [H36M_17.joints.index(joint) for joint in H36M_14.joints]


def _columns(error: str, header: str) -> list[Column]:
    names = [(f"{error}/{action}", text) for action, text in _HEADERS.items()]
    return [
        Column(name, text, higher_is_better=False, group=header)
        for name, text in [*names, (error, "Avg.")]
    ]


class H36M(Benchmark):
    """Human3.6M: one person, 17 joints, in the frame of the camera.

    A sample is a frame; the unit of the statistics is a sequence (one video of one camera), for
    frames of a video are no independent draws. All frames of a sequence must be in one part.
    """

    name: ClassVar[str] = "h36m"
    title: ClassVar[str] = "Human3.6M"
    citation: ClassVar[str] = (
        "Ionescu, Papava, Olaru, Sminchisescu: Human3.6M: Large Scale Datasets and Predictive "
        "Methods for 3D Human Sensing in Natural Environments. PAMI 2014"
    )
    obtain: ClassVar[str] = official.OBTAIN
    schema = JOINTS_3D
    skeleton = H36M_17
    protocols: ClassVar[Mapping[str, Protocol]] = PROTOCOLS
    columns = (
        *_columns("mpjpe", "MPJPE (mm)"),
        *_columns("pa_mpjpe", "PA-MPJPE (mm)"),
        Column("bone_error", "Bone Error", higher_is_better=False),
        Column("bone_std", "Bone Std", higher_is_better=False),
        Column("illegal_angle", "Illegal Angle", higher_is_better=False),
    )
    primary = "mpjpe"
    default_split = "test"
    embedded_split = "embedded-val"

    def protocol(self, variant: str | None = None) -> Protocol:
        """Return a named protocol; ``_`` and ``-`` are one, any batch size may be named.

        ``martinez-p1-batch8`` is ``martinez-p1-batch64`` with batches of 8.
        """
        if variant is None:
            return super().protocol()
        name = variant.replace("_", "-")
        if name == "mesh":
            raise PrerequisiteError(
                "h36m scores joints; meshes are the benchmark h36m-mesh.", "Name h36m-mesh."
            )
        batch = re.fullmatch(r"(martinez-p[12]-batch)([1-9]\d*)", name)
        if batch is None:
            return super().protocol(name)
        known = cast("H36MProtocol", self.protocols[f"{batch[1]}64"])
        return replace(
            known,
            variant=name,
            title=known.title.replace("64", batch[2]),
            whole_batches=int(batch[2]),
        )

    def ranked_by(self, protocol: str) -> Column:
        """Return the column of the error that the protocol's table averages, MPJPE if of none."""
        try:
            numbers = cast("H36MProtocol", self.protocol(protocol)).numbers
        except PrerequisiteError:  # of a result from before a protocol was renamed
            numbers = ()
        metric = next((n.error for n in numbers if n.name == "avg"), self.primary)
        return next(column for column in self.columns if column.metric == metric)

    def layout(self, split: str) -> str:
        return official.layout(split)

    def splits(self, root: Path) -> tuple[str, ...]:
        return official.splits(root)

    def load(self, root: Path, split: str) -> Dataset:
        return official.load(root, split)

    def make_embedded(self, root: Path, split: str, progress: Callable[[int, int], None]) -> Path:
        from benchmarks.world.h36m import make_split

        return make_split(root, split, progress)

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        """Return the frames: image, box and ``keypoints_2d`` (1, 17, 2), as far as known.

        And ``camera`` (3, 3), ``image_size`` (2,): width, height, and ``root_depth`` (1,), the
        true depth of the pelvis in millimetres, which methods that work in image space are given.
        """
        if detections is not None:
            raise PrerequisiteError(
                f"Human3.6M takes no detections ({detections}): the person is known.",
                "Leave the box source out.",
            )
        poses: Poses = dataset.truth
        keypoints = poses.keypoints_2d
        return [
            Sample(
                sample_id,
                poses.images[i : i + 1],
                None if poses.boxes is None else poses.boxes[i : i + 1],
                None if poses.boxes is None else np.ones(1),
                {
                    **({} if keypoints is None else {"keypoints_2d": keypoints[i, None]}),
                    "camera": poses.camera(i),
                    "image_size": poses.size(i),
                    "root_depth": poses.joints[i, _PELVIS, 2:],
                },
            )
            for i, sample_id in enumerate(dataset.sample_ids)
        ]

    def training_samples(
        self, dataset: Dataset, skeleton: Skeleton
    ) -> list[tuple[Sample, Mapping[str, NDArray[Any]]]]:
        """Return the frames; the truth also holds ``joints`` (1, 17, 3) in millimetres."""
        require_skeleton(self, skeleton)
        poses: Poses = dataset.truth
        if poses.keypoints_2d is None:
            raise PrerequisiteError(
                f"The files below {dataset.root} hold no 2D joints.",
                "Training needs mmpose's npz export.",
            )
        return [
            (
                sample,
                {
                    "keypoints": poses.keypoints_2d[i, None],
                    "visible": poses.visible[i, None],
                    "joints": poses.joints[i, None],
                },
            )
            for i, sample in enumerate(self.samples(dataset, self.protocol()))
        ]

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read ``poses.json`` (sequences with ``pred``) or ``.npz``.

        The rows of ``predictions`` (N, 17, 3) are all frames of the split, or those that the
        protocol scores. Under a protocol of the 14 LSP joints (N, 14, 3) will do as well, unless
        its root is the pelvis.
        """
        rules = cast("H36MProtocol", protocol)
        poses: Poses = dataset.truth
        scored = self.scored(poses, rules)
        if path.suffix == ".json":
            rows, joints = _read_json(path, dataset)
        elif path.suffix == ".npz":
            rows, joints = _read_array(path, scored, rules)
        else:
            raise PrerequisiteError(f"{path} is neither .json nor .npz.", _REMEDY)
        given = np.bincount(rows, minlength=len(scored))
        absent = np.flatnonzero(scored & (given == 0))
        if len(absent):
            raise PrerequisiteError(
                f"{path}: {len(absent)} frames without predictions, the first is "
                f"{dataset.sample_ids[absent[0]]}.",
                "Predict every frame that the protocol scores.",
            )
        due = scored[rows]
        ids = [dataset.sample_ids[row] for row in rows[due].tolist()]
        there = poses.joints[rows[due]]
        check_poses(joints[due], there, needed_joints(rules), H36M_17, ids, str(path))
        offsets = np.concatenate([[0], np.cumsum(given)]).astype(np.int64)
        finite = np.where(np.isfinite(joints), joints, np.nan)  # frames that nobody scores
        return Predictions(JOINTS_3D, dataset.sample_ids, offsets, {"joints": finite})

    def scored(self, poses: Poses, protocol: H36MProtocol) -> NDArray[np.bool_]:
        """Say which frames (n,) a protocol scores."""
        chosen = np.array(
            [
                s.subject in protocol.subjects
                and s.camera in protocol.cameras
                and s.trial in protocol.trials
                and (s.subject, s.action, s.trial, s.camera) not in protocol.left_out
                for s in poses.sequences
            ],
            dtype=np.bool_,
        )
        return np.asarray(chosen[poses.sequence] & (poses.number % protocol.stride == 0))

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        """Measure every frame that the protocol scores, sequence by sequence.

        Columns: ``action``, ``subject``, ``camera`` (s,), ``number`` (ragged) and one ragged column
        per error, as :func:`benchmarks.protocols.h36m_errors.frame_errors` gives them.
        """
        rules = cast("H36MProtocol", protocol)
        poses: Poses = dataset.truth
        scored = self.scored(poses, rules)
        if not scored.any():
            raise PrerequisiteError(
                f"The protocol {rules.variant!r} scores no frame of {dataset.split!r} below "
                f"{dataset.root}: it is about {', '.join(rules.subjects)}, every "
                f"{rules.stride} frames.",
                "Choose another protocol or split.",
            )
        frames, joints = _one_each(predictions, dataset, scored)
        joints = _seventeen(joints)
        ids = tuple(dataset.sample_ids[frame] for frame in frames.tolist())
        check_poses(joints, poses.joints[frames], needed_joints(rules), H36M_17, ids, "predictions")
        errors = frame_errors(joints, poses, frames, rules)
        sequences, counts = np.unique(poses.sequence[frames], return_counts=True)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        about = [poses.sequences[index] for index in sequences.tolist()]
        return Statistics(
            sequences,
            {
                "action": np.array([ACTIONS.index(s.action) for s in about], dtype=np.int64),
                "subject": np.array([int(s.subject[1:]) for s in about], dtype=np.int64),
                "camera": np.array([int(s.camera) for s in about], dtype=np.int64),
                "number": Ragged(poses.number[frames], offsets),
                **{name: Ragged(values, offsets) for name, values in errors.items()},
            },
        )

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        once = np.ones(len(statistics), dtype=np.int64) if weights is None else np.asarray(weights)
        values = self.resample(statistics, protocol, once[None])
        return {name: float(value[0]) for name, value in values.items()}

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        rules = cast("H36MProtocol", protocol)
        errors = SequenceErrors.of(statistics, weights, rules.whole_batches)
        metrics: dict[str, NDArray[np.float64]] = {}
        for number in rules.numbers:
            metrics |= errors.metrics(number)
        return metrics

    def curves(self, statistics: Statistics, protocol: Protocol) -> list[Curve]:
        """Return the share of joints within a distance (3D PCK), roots subtracted, not aligned."""
        errors = statistics.ragged("mpjpe").values.ravel()
        errors = errors[~np.isnan(errors)]
        x = np.arange(0.0, 151.0, 5.0)
        y = success(errors, x, np.ones((1, len(errors)), dtype=np.int64))[0]
        return [Curve("joints", x, y, "distance (mm)", "joints within the distance (%)")]

    def breakdown(self, statistics: Statistics, protocol: Protocol) -> dict[str, dict[str, float]]:
        """Return MPJPE by joint, action, subject and camera, pooled over frames."""
        rules = cast("H36MProtocol", protocol)
        once = np.ones((1, len(statistics)), dtype=np.int64)
        return SequenceErrors.of(statistics, once, rules.whole_batches).breakdown(rules.joints)

    def per_sample(
        self, statistics: Statistics, protocol: Protocol
    ) -> dict[str, NDArray[np.float64]]:
        """Return the mean errors of each sequence."""
        once = np.ones((1, len(statistics)), dtype=np.int64)
        return SequenceErrors.of(statistics, once, 1).of_sequences(("mpjpe", "pa_mpjpe"))

    def units(self, dataset: Dataset, statistics: Statistics) -> tuple[str, ...]:
        """Name the sequences: ``S9/Directions-1/54138969``."""
        poses: Poses = dataset.truth
        return tuple(poses.sequences[index].name for index in statistics.position)


def _read_json(path: Path, dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return which frames of the split ``poses.json`` predicts, sorted, and their poses."""
    predicted = official.read_poses(path, "pred")
    ids = predicted.ids()
    official.check_unique(ids, path)
    place = {sample_id: i for i, sample_id in enumerate(dataset.sample_ids)}
    unknown = next((i for i in ids if i not in place), None)
    if unknown is not None:
        raise PrerequisiteError(
            f"{path}: the frame {unknown} is not in the split {dataset.split!r}.",
            "Check subject, action, subaction, camera and frame number.",
        )
    rows = np.array([place[i] for i in ids], dtype=np.int64)
    order = np.argsort(rows)
    return rows[order], predicted.joints[order]


def _read_array(
    path: Path, scored: NDArray[np.bool_], protocol: H36MProtocol
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return which frames the rows of a .npz file are, by their number, and their poses."""
    joints = read_array(path, "predictions", _REMEDY)
    fourteen = set(protocol.joints) == set(H36M_14.joints) and "pelvis" not in protocol.root
    sizes = (17, 14) if fourteen else (17,)
    if joints.ndim != 3 or joints.shape[1] not in sizes or joints.shape[2] != 3:
        raise shape_error(joints.shape, (len(scored), 17, 3), path, _REMEDY)
    if len(joints) == len(scored):
        return np.arange(len(scored)), _seventeen(joints)
    if len(joints) == scored.sum():
        return np.flatnonzero(scored), _seventeen(joints)
    raise PrerequisiteError(
        f"{path}: {len(joints)} frames; the split has {len(scored)}, {scored.sum()} of them are "
        f"scored by {protocol.variant!r}.",
        _REMEDY,
    )


def _seventeen(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return poses (n, 17, 3); joints that a pose of 14 lacks are NaN."""
    if joints.shape[1] != len(H36M_14):
        return joints
    full = np.full((len(joints), len(H36M_17), 3), np.nan)
    full[:, _ROWS_OF_14] = joints
    return full


def _one_each(
    predictions: Predictions, dataset: Dataset, scored: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the scored frames among the predictions, sorted, and their poses."""
    place = {sample_id: i for i, sample_id in enumerate(dataset.sample_ids)}
    frames = np.array([place[i] for i in predictions.sample_ids], dtype=np.int64)
    counts, chosen = np.diff(predictions.offsets), scored[frames]
    wrong = np.flatnonzero(chosen & (counts != 1))
    if len(wrong):
        raise PrerequisiteError(
            f"{predictions.sample_ids[wrong[0]]} has {counts[wrong[0]]} poses, one is due "
            f"({len(wrong)} such frames).",
            "Predict one person in every frame that the protocol scores.",
        )
    # Sequences come one after another, frames of a sequence in time.
    order = np.flatnonzero(chosen)[np.argsort(frames[chosen], kind="stable")]
    return frames[order], predictions.columns["joints"][predictions.offsets[:-1][order]]
