"""MPII Human Pose, single person: PCKh (Andriluka et al., CVPR 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import mpii as files
from benchmarks.datasets.arrays import read_array
from benchmarks.datasets.single_person import Views
from benchmarks.metrics.pck import Rate, grid, trapezoid
from benchmarks.protocols.single_person import ARMS_AND_LEGS, PckProtocol, SinglePerson
from harness.api import Column, Dataset, Predictions, Protocol, Statistics, quirk
from harness.api.skeleton import MPII_16

_ALL = tuple(range(16))
_SCORED = tuple(joint for joint in _ALL if MPII_16.joints[joint] not in ("pelvis", "thorax"))


@dataclass(frozen=True, kw_only=True)
class MpiiProtocol(PckProtocol):
    """PCKh on MPII."""

    total: str = quirk(
        "The table's total.",
        default="pooled14: all hits over all labelled joints but pelvis and thorax",
    )
    area_thresholds: tuple[float, ...] = quirk(
        "Thresholds of the area under the curve of pooled14, each '<='.", default=grid(0, 50)
    )
    area_rule: str = quirk(
        "How the area is taken: the 'mean' over thresholds, or the 'trapezoid' rule.",
        default="mean",
    )


_OFFICIAL = MpiiProtocol(
    variant="official",
    title="PCKh@0.5, gt_valid.mat",
    benchmark="mpii",
    box_source="ground truth",
    ground_truth=(files.MAT,),
    pixel_base=1,
    unit="0.6 x diagonal of the annotated head box",
    threshold=0.5,
    comparison="<",
    groups=(("head", ("head_top",)), *ARMS_AND_LEGS),
    counted="joints with jnt_missing = 0, also the 13 stored as zeros",
)
_H5 = replace(
    _OFFICIAL,
    variant="h5",
    title="PCKh@0.5, stacked hourglass annotation",
    ground_truth=(files.H5,),
    unit="the file's normalize, 0.6 x diagonal of the head box",
    comparison="<=",
    counted="joints with x > 1 and y > 1",
)
_DEVKIT = replace(
    _OFFICIAL,
    variant="devkit",
    title="PCKh@0.5, rows of the MPII toolkit",
    comparison="<=",
    groups=(("head", ("upper_neck", "head_top")), *ARMS_AND_LEGS),
    area_rule="trapezoid",
)


class Mpii(SinglePerson):
    """MPII Human Pose, one well separated person at a known place and size."""

    name: ClassVar[str] = "mpii"
    title: ClassVar[str] = "MPII Human Pose, single person"
    citation: ClassVar[str] = (
        "Andriluka, Pishchulin, Gehler, Schiele: 2D Human Pose Estimation: New Benchmark and State "
        "of the Art Analysis. CVPR 2014"
    )
    obtain: ClassVar[str] = files.OBTAIN
    files = files
    skeleton = MPII_16
    protocols: ClassVar[Mapping[str, Protocol]] = {
        protocol.variant: protocol for protocol in (_OFFICIAL, _H5, _DEVKIT)
    }
    columns = (
        Column("head", "Head"),
        Column("shoulder", "Sho."),
        Column("elbow", "Elb."),
        Column("wrist", "Wri."),
        Column("hip", "Hip"),
        Column("knee", "Knee"),
        Column("ankle", "Ank."),
        Column("total", "Total"),
        Column("total@0.1", "@0.1"),
        Column("auc_pooled14", "AUC"),
    )
    primary = "total"
    default_split = "val"
    embedded_split = "embedded-val"
    curve_thresholds = grid(0, 50)
    curve_label = "distance / head size"

    def views(self, dataset: Dataset) -> Views:
        if dataset.truth is None:
            return files.test_views(dataset.root)
        return super().views(dataset)

    def plan(self, protocol: MpiiProtocol) -> list[Rate]:
        at, strict = (protocol.threshold,), protocol.comparison == "<"
        area = protocol.area_thresholds
        marks = trapezoid(len(area)) if protocol.area_rule == "trapezoid" else (1,) * len(area)
        return [
            *(Rate(name, self.rows(joints), at, strict=strict) for name, joints in protocol.groups),
            Rate("total", _SCORED, at, strict=strict, pooled=True),
            Rate("mean14", _SCORED, at, strict=strict),
            Rate("pooled14", _SCORED, at, strict=strict, pooled=True),
            Rate("mean16", _ALL, at, strict=strict),
            Rate("pooled16", _ALL, at, strict=strict, pooled=True),
            Rate("total@0.1", _SCORED, (0.1,), strict=strict, pooled=True),
            Rate("mean14@0.1", _SCORED, (0.1,), strict=strict),
            Rate("auc_pooled14", _SCORED, area, marks, pooled=True),
        ]

    def resample(
        self, statistics: Statistics, protocol: MpiiProtocol, weights: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        labelled = (~np.isnan(statistics.dense("joint"))).sum(axis=1)
        return {
            **super().resample(statistics, protocol, weights),
            "n_valid_joints": (weights @ labelled).astype(np.float64),
        }

    def official(self, path: Path, dataset: Dataset) -> NDArray[np.float64] | None:
        """Read ``preds`` (n, 16, 2) of a .mat or .h5 file, as HRNet and stacked hourglass write."""
        if path.suffix.lower() not in (".mat", ".h5"):
            return None
        return read_array(path, "preds", "Store one array 'preds' of shape (n, 16, 2).")

    def write_submission(
        self, predictions: Predictions, dataset: Dataset, protocol: Protocol, path: Path
    ) -> None:
        """Write predictions of the test split as the file to be sent to the benchmark."""
        files.write_submission(predictions, dataset, path)
