"""ITOP: bodies in depth images, share of joints within ten centimetres (Haque et al., ECCV 2016).

No evaluation code is published with the data set or the networks; the definition is the papers'.
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
from benchmarks.metrics.joint_error import distances, success
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
    Sample,
    Statistics,
    quirk,
)
from harness.api.skeleton import ITOP_15

_FILES = {
    "side-test": ("labels.json", "ITOP_side_test_labels.h5"),
    "top-test": ("ITOP_top_test_labels.h5",),
}
_MILLIMETRES = 1000.0
_GROUPS = (
    ("Head", (0,)), ("Neck", (1,)), ("Shoulders", (2, 3)), ("Elbows", (4, 5)), ("Hands", (6, 7)),
    ("Torso", (8,)), ("Hip", (9, 10)), ("Knees", (11, 12)), ("Feet", (13, 14)),
    ("UpperBody", tuple(range(8))), ("LowerBody", tuple(range(8, 15))),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Bodies:
    """One person per depth image: joints (n, 15, 3) in millimetres, and which frames count."""

    joints: NDArray[np.float64]
    valid: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ItopProtocol(Protocol):
    """Which frames count and when a joint is right."""

    benchmark: str = quirk("The benchmark that this protocol scores.", default="itop")
    frames: str = quirk("Frames that are scored.", default="is_valid = 1")
    threshold_cm: int = quirk(
        "Distance in centimetres within which a joint is right; exactly that far is right.",
        default=10,
    )
    further_thresholds_cm: tuple[int, ...] = quirk(
        "Distances at which the mean over joints is reported too.", default=(5, 15, 20)
    )
    groups: tuple[tuple[str, tuple[int, ...]], ...] = quirk(
        "Rows of the tables: each the plain mean of its joints' rates.", default=_GROUPS
    )
    sides: str = quirk(
        "Whose left and right.", default="as labelled; not exchanged for people seen from behind"
    )


class Itop(Benchmark):
    """ITOP: 15 joints of one person, from the side or from above."""

    name: ClassVar[str] = "itop"
    title: ClassVar[str] = "ITOP"
    citation: ClassVar[str] = (
        "Haque, Peng, Luo, Alahi, Yeung, Fei-Fei: Towards Viewpoint Invariant 3D Human Pose "
        "Estimation. ECCV 2016"
    )
    obtain: ClassVar[str] = "Download the ITOP dataset (Stanford) from zenodo.org (CC BY 4.0)."
    schema = JOINTS_3D
    skeleton = ITOP_15
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "official": ItopProtocol(variant="official", title="mAP at 10 cm over valid frames")
    }
    columns = (
        *(Column(name, name) for name, _ in _GROUPS),
        Column("mAP@10cm", "mAP"),
        Column("mean_error_cm", "Mean error (cm)", decimals=2, higher_is_better=False),
    )
    primary = "mAP@10cm"
    default_split = "side-test"

    def layout(self, split: str) -> str:
        files = " or ".join(reversed(_FILES.get(split, _FILES[self.default_split])))
        return f"{files}   is_valid (n,), real_world_coordinates (n, 15, 3) in metres"

    def splits(self, root: Path) -> tuple[str, ...]:
        return tuple(split for split in _FILES if self._file(root, split) is not None)

    def _file(self, root: Path, split: str) -> str | None:
        """Return the label file of a split that is there."""
        candidates = _FILES.get(split, ())
        return next((name for name in candidates if (root / name).is_file()), None)

    def load(self, root: Path, split: str) -> Dataset:
        remedy = f"Expected {self.layout(split)}\n{self.obtain}"
        file = self._file(root, split)
        if file is None:
            raise PrerequisiteError(f"ITOP: no split {split!r} below {root}.", remedy)
        path = root / file
        if path.suffix == ".json":
            _check_unit(path, remedy)

        def read(key: str) -> NDArray[np.float64]:
            plain = path.suffix == ".json"
            return read_nested(path, remedy, key) if plain else read_array(path, key, remedy)

        joints, valid = read("real_world_coordinates"), read("is_valid")
        if joints.shape != (len(valid), len(ITOP_15), 3):
            raise PrerequisiteError(
                f"{path}: real_world_coordinates has shape {joints.shape}, due is "
                f"({len(valid)}, 15, 3).",
                remedy,
            )
        counts = valid > 0
        if not np.isfinite(joints[counts]).all():
            raise PrerequisiteError(
                f"{path}: a valid frame has joints that are no numbers.", remedy
            )
        ids = [f"{index:06d}" for index in range(len(joints))]
        return make_dataset(
            self.name, split, root, [file], ids, Bodies(_MILLIMETRES * joints, counts)
        )

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        raise PrerequisiteError(
            "ITOP keeps its depth images in one HDF5 file, which methods cannot read yet.",
            "Score predictions made elsewhere with harness score itop.",
        )

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read metres: ``real_world_coordinates`` of a JSON file, or ``.npz`` (N, 15, 3)."""
        truth: Bodies = dataset.truth
        remedy = (
            f"Give x y z in metres of 15 joints for all {len(truth.joints)} frames, in the split's "
            f"order: {' '.join(ITOP_15.joints)}."
        )
        if path.suffix == ".json":
            _check_unit(path, remedy)
            joints = read_nested(path, remedy, "real_world_coordinates")
        elif path.suffix == ".npz":
            joints = read_array(path, "predictions", remedy)
        else:
            raise PrerequisiteError(f"{path} is neither .json nor .npz.", remedy)
        if joints.shape != truth.joints.shape:
            raise shape_error(joints.shape, truth.joints.shape, path, remedy)
        ids = np.array(dataset.sample_ids)[truth.valid].tolist()
        check_poses(
            joints[truth.valid],
            truth.joints[truth.valid] / _MILLIMETRES,
            range(15),
            ITOP_15,
            ids,
            str(path),
            "m",
        )
        joints[~np.isfinite(joints)] = np.nan
        return Predictions(
            JOINTS_3D,
            dataset.sample_ids,
            np.arange(len(joints) + 1),
            {"joints": _MILLIMETRES * joints},
        )

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        """Measure every joint of the valid frames: ``distance`` (n, 15) in centimetres."""
        truth: Bodies = dataset.truth
        place = {sample_id: i for i, sample_id in enumerate(dataset.sample_ids)}
        position = np.array([place[i] for i in predictions.sample_ids], dtype=np.int64)
        valid = truth.valid[position]
        wrong = np.flatnonzero(valid & (np.diff(predictions.offsets) != 1))
        if len(wrong):
            raise PrerequisiteError(
                f"{predictions.sample_ids[wrong[0]]} has not one pose ({len(wrong)} such frames).",
                "Predict one person in every valid frame.",
            )
        joints = predictions.columns["joints"][predictions.offsets[:-1][valid]]
        ids = [i for i, counts in zip(predictions.sample_ids, valid, strict=True) if counts]
        there = truth.joints[position[valid]]
        check_poses(joints, there, range(15), ITOP_15, ids, "predictions")
        return Statistics(position[valid], {"distance": distances(joints, there) / 10.0})

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        once = np.ones(len(statistics), dtype=np.int64) if weights is None else np.asarray(weights)
        values = self.resample(statistics, protocol, once[None])
        return {name: float(value[0]) for name, value in values.items()}

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        rules = cast("ItopProtocol", protocol)
        order = np.argsort(statistics.position, kind="stable")
        distance, weights = statistics.dense("distance")[order], weights[:, order]

        def rates(threshold: int) -> NDArray[np.float64]:
            return 100.0 * mean((distance <= threshold).astype(np.float64), weights)

        by_joint = rates(rules.threshold_cm)
        metrics = {name: by_joint[:, list(rows)].mean(axis=1) for name, rows in rules.groups}
        metrics["mean_error_cm"] = mean(distance.mean(axis=1), weights)
        for threshold in (rules.threshold_cm, *rules.further_thresholds_cm):
            metrics[f"mAP@{threshold}cm"] = rates(threshold).mean(axis=1)
        metrics["frames"] = weights.sum(axis=1).astype(np.float64)
        return metrics

    def curves(self, statistics: Statistics, protocol: Protocol) -> list[Curve]:
        """Return the share of joints within a distance."""
        errors = statistics.dense("distance").ravel()
        x = np.arange(0.0, 31.0)
        y = success(errors, x, np.ones((1, len(errors)), dtype=np.int64))[0]
        return [Curve("joints", x, y, "distance (cm)", "joints within the distance (%)")]

    def breakdown(self, statistics: Statistics, protocol: Protocol) -> dict[str, dict[str, float]]:
        """Return every joint's rate at the protocol's threshold."""
        rules = cast("ItopProtocol", protocol)
        rate = 100.0 * (statistics.dense("distance") <= rules.threshold_cm).mean(axis=0)
        return {"joint": dict(zip(ITOP_15.joints, rate.tolist(), strict=True))}

    def per_sample(
        self, statistics: Statistics, protocol: Protocol
    ) -> dict[str, NDArray[np.float64]]:
        return {"mean_error_cm": statistics.dense("distance").mean(axis=1)}


def _check_unit(path: Path, remedy: str) -> None:
    content = read_json(path, remedy)
    unit = content.get("unit", "metre") if isinstance(content, dict) else "metre"
    if unit != "metre":
        raise PrerequisiteError(f"{path} is in {unit!r}.", "Give metres.")
