"""Hands in depth images: joint error in millimetres and success over the worst joint.

Evaluated as the public scripts do (xinghaochen/awesome-hand-pose-estimation, ``evaluation/src``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import hands as official
from benchmarks.datasets.arrays import read_array
from benchmarks.datasets.hands import Hands
from benchmarks.metrics.averages import mean, median, ratio
from benchmarks.metrics.joint_error import distances, success
from benchmarks.protocols.three_dimensions import check_poses, shape_error
from benchmarks.world.marker import NAME as MARKER
from benchmarks.world.marker import is_made
from harness.api import (
    JOINTS_3D,
    Benchmark,
    Column,
    Curve,
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

_CURVE = np.arange(0.0, 85.0)
"""Thresholds of the published curves, in millimetres."""


@dataclass(frozen=True, kw_only=True)
class HandProtocol(Protocol):
    """How pixels and depths become millimetres, and what is averaged."""

    box_source: str = quirk(
        "Where the place of the hand comes from that a method is given.", default="ground truth"
    )
    joints: tuple[str, ...] = quirk("Joints that count, in the order of the files.")
    focal: tuple[float, float] = quirk(
        "Focal lengths fx, fy in pixels with which u v d of both files become millimetres: "
        "x = (u - u0) d / fx, y = (v - v0) d / fy, z = d. A sign changes no distance."
    )
    centre: tuple[float, float] = quirk("Principal point u0, v0 in pixels.")
    image: tuple[int, int] = quirk("Width and height of the depth image in pixels.")
    thresholds: tuple[int, ...] = quirk(
        "Millimetres at which success is reported; an error of exactly that many is a success.",
        default=(5, 10, 15, 20, 30, 40, 50, 80),
    )
    pooling: str = quirk(
        "Over what the mean error is taken.", default="all frames and joints, each alike"
    )

    def millimetres(self, uvd: NDArray[np.float64]) -> NDArray[np.float64]:
        """Un-project rows u v d (n, K, 3) to x y z in millimetres."""
        depth = uvd[..., 2:]
        plane = (uvd[..., :2] - np.array(self.centre)) * depth / np.array(self.focal)
        return np.concatenate([plane, depth], axis=-1)


class HandBenchmark(Benchmark):
    """One hand per depth image.

    Subclasses give their files: :meth:`own_files` and :meth:`load_own`.
    """

    schema = JOINTS_3D
    skeleton: ClassVar[Skeleton]
    own_files: ClassVar[str]
    """The data set's own files, beside those of the public evaluation."""
    columns = (
        Column("mean_error_mm", "Mean error (mm)", decimals=2, higher_is_better=False),
        Column("median_error_mm", "Median (mm)", decimals=2, higher_is_better=False),
        *(
            Column(f"success_max_{t}mm", f"≤ {t} mm", group="Worst joint (%)")
            for t in (10, 20, 30, 40, 50, 80)
        ),
    )
    primary = "mean_error_mm"
    default_split = "test"

    @property
    def short(self) -> str:
        """Name of the set in the public evaluation: ``nyu``."""
        return self.name.removesuffix("-hand")

    @abstractmethod
    def has_own(self, root: Path) -> bool:
        """Say whether the data set's own files are below ``root``."""

    @abstractmethod
    def load_own(self, root: Path) -> Dataset:
        """Read the data set's own files."""

    def layout(self, split: str) -> str:
        return (
            f"one of\n  {official.label_file(self.short)} (rows of u v d), beside it "
            f"{self.short}_test_list.txt\n  {self.own_files}"
        )

    def splits(self, root: Path) -> tuple[str, ...]:
        public = (root / official.label_file(self.short)).is_file()
        embedded = [path.parent.name for path in sorted(root.glob(f"embedded-*/{MARKER}"))]
        return (*(("test",) if public or self.has_own(root) else ()), *embedded)

    def load(self, root: Path, split: str) -> Dataset:
        if split.startswith("embedded") and is_made(root / split):
            own = self.load_own(root / split)
            return replace(own, split=split, root=root, synthetic=True)
        if split in self.splits(root):
            if (root / official.label_file(self.short)).is_file():
                return official.load_public(root, self.short, self.skeleton)
            return self.load_own(root)
        raise PrerequisiteError(
            f"{self.title}: no split {split!r} below {root}.",
            f"Expected {self.layout(split)}\n{self.obtain}",
        )

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        """Return the depth images with ``hand_center`` (1, 3) in mm and ``camera`` (3, 3).

        The centre is the mean of the true joints, or the frame's line of a detections file: the
        refined centres that V2V-PoseNet publishes, x y z in millimetres.
        """
        rules, truth = cast("HandProtocol", protocol), cast("Hands", dataset.truth)
        if not truth.images:
            raise PrerequisiteError(
                f"{self.title}: the files below {dataset.root} do not name the depth images.",
                f"Expected {self.layout(dataset.split)}",
            )
        centre = rules.millimetres(truth.uvd).mean(axis=1, keepdims=True)
        if detections is not None:
            centre = official.read_centres(detections, len(centre))[:, None]
        camera = np.array(
            [[rules.focal[0], 0, rules.centre[0]], [0, rules.focal[1], rules.centre[1]], [0, 0, 1]]
        )
        return [
            Sample(
                sample_id,
                (truth.images[i],),
                inputs={"hand_center": centre[i], "camera": camera},
            )
            for i, sample_id in enumerate(dataset.sample_ids)
        ]

    def training_samples(
        self, dataset: Dataset, skeleton: Skeleton
    ) -> list[tuple[Sample, Mapping[str, NDArray[Any]]]]:
        """Return the frames; the truth also holds ``joints`` (1, K, 3) in millimetres."""
        require_skeleton(self, skeleton)
        rules, truth = cast("HandProtocol", self.protocol()), cast("Hands", dataset.truth)
        joints = rules.millimetres(truth.uvd)
        seen = np.ones((1, len(skeleton)), dtype=np.bool_)
        return [
            (
                sample,
                {
                    "keypoints": truth.uvd[i, None, :, :2],
                    "visible": seen,
                    "joints": joints[i, None],
                },
            )
            for i, sample in enumerate(self.samples(dataset, rules))
        ]

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read rows of u v d: a text file like the published ones, or ``.npz`` (N, K, 3)."""
        rules, truth = cast("HandProtocol", protocol), cast("Hands", dataset.truth)
        remedy = (
            f"Give u v d (pixel, pixel, mm) of {len(self.skeleton)} joints for all "
            f"{len(truth.uvd)} frames, in the split's order: {' '.join(self.skeleton.joints)}."
        )
        if path.suffix == ".npz":
            uvd = read_array(path, "predictions", remedy)
        else:
            uvd = official.read_rows(path, len(self.skeleton))
        if uvd.shape != truth.uvd.shape:
            raise shape_error(uvd.shape, truth.uvd.shape, path, remedy)
        _check_pixels(uvd, rules, path)
        joints = rules.millimetres(uvd)
        check_poses(
            joints,
            rules.millimetres(truth.uvd),
            range(len(self.skeleton)),
            self.skeleton,
            dataset.sample_ids,
            str(path),
        )
        return Predictions(
            JOINTS_3D, dataset.sample_ids, np.arange(len(joints) + 1), {"joints": joints}
        )

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        """Measure every joint.

        Columns: ``distance`` (n, K) in millimetres and, where the benchmark asks, ``subject`` (n,).
        """
        rules, truth = cast("HandProtocol", protocol), cast("Hands", dataset.truth)
        place = {sample_id: i for i, sample_id in enumerate(dataset.sample_ids)}
        position = np.array([place[i] for i in predictions.sample_ids], dtype=np.int64)
        wrong = np.flatnonzero(np.diff(predictions.offsets) != 1)
        if len(wrong):
            raise PrerequisiteError(
                f"{predictions.sample_ids[wrong[0]]} has not one hand ({len(wrong)} such frames).",
                "Predict one hand in every frame.",
            )
        joints, there = predictions.columns["joints"], rules.millimetres(truth.uvd[position])
        check_poses(
            joints,
            there,
            range(len(self.skeleton)),
            self.skeleton,
            predictions.sample_ids,
            "predictions",
        )
        columns: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {
            "distance": distances(joints, there)
        }
        if truth.subject is not None:
            columns["subject"] = truth.subject[position]
        return Statistics(position, columns)

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        once = np.ones(len(statistics), dtype=np.int64) if weights is None else np.asarray(weights)
        values = self.resample(statistics, protocol, once[None])
        return {name: float(value[0]) for name, value in values.items()}

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        rules = cast("HandProtocol", protocol)
        order = np.argsort(statistics.position, kind="stable")
        statistics, weights = statistics.take(order), weights[:, order]
        distance = statistics.dense("distance")
        owner = np.repeat(np.arange(len(distance)), distance.shape[1])
        frames = weights.sum(axis=1).astype(np.float64)
        metrics = {
            "mean_error_mm": mean(distance.mean(axis=1), weights),
            "median_error_mm": median(distance.ravel(), weights, owner),
            "frames": frames,
            "n_frames": frames,
        }
        at = rules.thresholds
        worst, middle = (success(e, at, weights) for e in (distance.max(1), distance.mean(1)))
        single = 100.0 * mean((distance[:, :, None] <= np.array(at)).mean(axis=1), weights)
        for index, t in enumerate(at):
            metrics[f"success_max_{t}mm"] = metrics[f"success_max_frame_{t}mm"] = worst[:, index]
            metrics[f"success_mean_{t}mm"] = metrics[f"success_mean_frame_{t}mm"] = middle[:, index]
            metrics[f"success_joint_{t}mm"] = single[:, index]
        by_joint = mean(distance, weights)
        metrics |= {f"joint_{k}_mm": by_joint[:, k] for k in range(distance.shape[1])}
        return metrics | self._by_subject(statistics, weights)

    def _by_subject(
        self, statistics: Statistics, weights: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        if "subject" not in statistics.columns:
            return {}
        subject, error = statistics.dense("subject"), statistics.dense("distance").mean(axis=1)
        means = {
            official.SUBJECTS[one]: mean(error[subject == one], weights[:, subject == one])
            for one in np.unique(subject)
        }
        every = np.array(list(means.values())).reshape(-1, len(weights))
        valued = ~np.isnan(every)
        mean_of_means = ratio(np.where(valued, every, 0.0).sum(axis=0), valued.sum(axis=0))
        return {
            "mean_over_subjects_mm": mean_of_means,
            **{f"subject_{name}_mm": value for name, value in means.items()},
        }

    def curves(self, statistics: Statistics, protocol: Protocol) -> list[Curve]:
        """Return success over threshold: of the worst joint, of the frame's mean, of all joints."""
        distance = statistics.dense("distance")
        lines = {
            "worst joint of the frame": distance.max(axis=1),
            "mean joint of the frame": distance.mean(axis=1),
            "all joints": distance.ravel(),
        }
        return [
            Curve(
                name,
                _CURVE,
                success(errors, _CURVE, np.ones((1, len(errors)), dtype=np.int64))[0],
                "distance (mm)",
                "within the distance (%)",
            )
            for name, errors in lines.items()
        ]

    def breakdown(self, statistics: Statistics, protocol: Protocol) -> dict[str, dict[str, float]]:
        """Return the mean error of every joint and, where there are several, subject."""
        metrics = self.compute(statistics, protocol)
        result = {
            "joint": {
                joint: metrics[f"joint_{k}_mm"] for k, joint in enumerate(self.skeleton.joints)
            }
        }
        if "subject" in statistics.columns:
            known = {one: f"subject_{one}_mm" for one in official.SUBJECTS}
            result["subject"] = {k: metrics[v] for k, v in known.items() if v in metrics}
        return result

    def per_sample(
        self, statistics: Statistics, protocol: Protocol
    ) -> dict[str, NDArray[np.float64]]:
        """Return the mean and the worst joint error of every frame."""
        distance = statistics.dense("distance")
        return {"mean_error_mm": distance.mean(axis=1), "worst_joint_mm": distance.max(axis=1)}


def _check_pixels(uvd: NDArray[np.float64], protocol: HandProtocol, path: Path) -> None:
    """Make sure that u and v are pixels: x y z in millimetres lie about the axis, half below 0."""
    inside = ((uvd[..., :2] >= 0) & (uvd[..., :2] < np.array(protocol.image))).all(axis=-1)
    if inside.mean() < 0.5:
        raise PrerequisiteError(
            f"{path}: {100 * (1 - inside.mean()):.0f} % of the joints are outside the "
            f"{protocol.image[0]} x {protocol.image[1]} image; are these x y z?",
            "Give u v d: pixel, pixel, depth in millimetres.",
        )
