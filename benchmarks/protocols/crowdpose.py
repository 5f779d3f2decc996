"""CrowdPose: COCO's keypoint evaluation on crowded images (Li et al., CVPR 2019).

The numbers are those of crowdposetools (Jeff-sjtu/CrowdPose, crowdpose-api) to the last bit, with
NaN where that tool has -1 for "no value" and without its rounding of the levels to four decimals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import crowdpose as official
from benchmarks.datasets.crowdpose import AREA_OF_BOX, CrowdPoseTruth
from benchmarks.metrics.average_precision import precision_recall
from benchmarks.protocols.oks_ap import Draws, OksBenchmark, OksProtocol, positions_in
from harness.api import Column, Dataset, Predictions, Protocol, Statistics, quirk
from harness.api.skeleton import CROWDPOSE_14

# As in the official code, which divides tenfold sigmas: some quotients are not the decimals' bits.
_TENFOLD_SIGMAS = (
    0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89, 0.79, 0.79,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CrowdPoseProtocol(OksProtocol):
    """The keypoint evaluation, whole and by how crowded an image is."""

    cuts: tuple[float, float] = quirk(
        "Easy: crowdIndex < first; medium: first <= crowdIndex < second; hard: >= second. Each "
        "level is an evaluation of its images alone."
    )


_PAPER = CrowdPoseProtocol(
    variant="cut-0.1-0.8",
    title="CrowdPose, easy below crowd index 0.1 as in the paper",
    benchmark="crowdpose",
    box_source="ground truth",
    sigmas=tuple(tenfold / 10 for tenfold in _TENFOLD_SIGMAS),
    area_ranges=(("all", 0.0, 1e10),),
    truth_area=f"{AREA_OF_BOX} w h of the annotation's box; an area field is not read",
    ignored_truth="iscrowd = 1 or num_keypoints = 0 (the field, which does not count head and "
    "neck in the official files)",
    cuts=(0.1, 0.8),
)
_TOOL = replace(
    _PAPER,
    variant="cut-0.2-0.8",
    title="CrowdPose, easy below crowd index 0.2 as in the official tool",
    cuts=(0.2, 0.8),
)


class CrowdPose(OksBenchmark):
    """CrowdPose: 14 joints, any number of people in an image."""

    name: ClassVar[str] = "crowdpose"
    title: ClassVar[str] = "CrowdPose"
    citation: ClassVar[str] = (
        "Li, Wang, Zhu, Mao, Fang, Lu. CrowdPose: Efficient Crowded Scenes Pose Estimation and "
        "A New Benchmark. CVPR 2019"
    )
    obtain: ClassVar[str] = (
        "Download images and annotations as the repository Jeff-sjtu/CrowdPose describes "
        "(research use; the pictures keep the terms of MSCOCO, MPII and AI Challenger)."
    )
    skeleton = CROWDPOSE_14
    protocols: ClassVar[Mapping[str, Protocol]] = {
        protocol.variant: protocol for protocol in (_PAPER, _TOOL)
    }
    columns = (
        Column("AP", "AP", 100.0),
        Column("AP50", "AP⁵⁰", 100.0),
        Column("AP75", "AP⁷⁵", 100.0),
        Column("AR", "AR", 100.0),
        Column("AR50", "AR⁵⁰", 100.0),
        Column("AR75", "AR⁷⁵", 100.0),
        Column("AP_easy", "easy", 100.0, group="AP by crowding"),
        Column("AP_medium", "medium", 100.0, group="AP by crowding"),
        Column("AP_hard", "hard", 100.0, group="AP by crowding"),
    )
    primary = "AP"
    default_split = "val"

    def layout(self, split: str) -> str:
        return official.layout(split)

    def splits(self, root: Path) -> tuple[str, ...]:
        return official.splits(root)

    def load(self, root: Path, split: str) -> Dataset:
        return official.load(root, split)

    def pictures(self, dataset: Dataset) -> Path:
        return official.picture_folder(dataset)

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        truth: CrowdPoseTruth = dataset.truth
        own = {"crowd_index": truth.crowd_index[positions_in(dataset, predictions)]}
        whole = super().statistics(dataset, predictions, protocol)
        return Statistics(whole.position, {**whole.columns, **own})

    def metrics(
        self, statistics: Statistics, protocol: OksProtocol, weights: NDArray[np.int64] | None
    ) -> Draws:
        assert isinstance(protocol, CrowdPoseProtocol)
        values = precision_recall(statistics, protocol.recall_points, weights)
        half, three_quarters = (protocol.thresholds.index(t) for t in (0.5, 0.75))
        metrics = {
            "AP": values.average_precision(0),
            "AP50": values.average_precision(0, half),
            "AP75": values.average_precision(0, three_quarters),
            "AR": values.average_recall(0),
            "AR50": values.average_recall(0, half),
            "AR75": values.average_recall(0, three_quarters),
        }
        level = np.digitize(statistics.dense("crowd_index"), protocol.cuts)
        for number, name in enumerate(("easy", "medium", "hard")):
            images = np.flatnonzero(level == number)
            drawn = None if weights is None else weights[:, images]
            part = precision_recall(statistics.take(images), protocol.recall_points, drawn)
            metrics[f"AP_{name}"] = part.average_precision(0)
        return metrics
