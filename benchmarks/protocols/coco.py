"""COCO person keypoints: OKS, average precision and recall (Lin et al., ECCV 2014).

The numbers are those of pycocotools 2.0 (``COCOeval`` with ``iouType="keypoints"``) to the last
bit, with NaN where that tool has -1 for "no value".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import coco as official
from benchmarks.datasets.coco_results import write_results
from benchmarks.metrics.average_precision import PrecisionRecall, precision_recall
from benchmarks.metrics.pose_errors import Annotated, Detected, analyse
from benchmarks.protocols.oks_ap import (
    Draws,
    OksBenchmark,
    OksProtocol,
    kept_detections,
    positions_in,
)
from harness.api import (
    COCO_17,
    Column,
    Dataset,
    Predictions,
    Protocol,
    Ragged,
    Sample,
    Skeleton,
    Statistics,
)
from harness.api.skeleton import COCO_MPII_21

# The official code writes tenfold sigmas and divides: some quotients are not the decimals' bits.
_TENFOLD_SIGMAS = (
    0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72,
    0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89,
)  # fmt: skip


class Coco(OksBenchmark):
    """COCO person keypoints: 17 joints, any number of people in an image."""

    name: ClassVar[str] = "coco"
    title: ClassVar[str] = "COCO keypoints"
    citation: ClassVar[str] = (
        "Lin, Maire, Belongie, Hays, Perona, Ramanan, Dollár, Zitnick. "
        "Microsoft COCO: Common Objects in Context. ECCV 2014"
    )
    obtain: ClassVar[str] = (
        "Download '2017 Val images' and '2017 Train/Val annotations' from cocodataset.org "
        "(annotations CC BY 4.0; the pictures keep the licences of their owners)."
    )
    skeleton = COCO_17
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "official": OksProtocol(
            variant="official",
            title="COCO keypoints, official evaluation",
            benchmark="coco",
            box_source="ground truth",
            sigmas=tuple(tenfold / 10 for tenfold in _TENFOLD_SIGMAS),
            area_ranges=(
                ("all", 0.0, 1e10),
                ("medium", 32.0**2, 96.0**2),
                ("large", 96.0**2, 1e10),
            ),
            truth_area="the annotation's area field (of its segmentation)",
        )
    }
    columns = (
        Column("AP", "AP", 100.0),
        Column("AP50", "AP⁵⁰", 100.0),
        Column("AP75", "AP⁷⁵", 100.0),
        Column("AP_M", "APᴹ", 100.0),
        Column("AP_L", "APᴸ", 100.0),
        Column("AR", "AR", 100.0),
        Column("AR50", "AR⁵⁰", 100.0),
        Column("AR75", "AR⁷⁵", 100.0),
        Column("AR_M", "ARᴹ", 100.0),
        Column("AR_L", "ARᴸ", 100.0),
    )
    primary = "AP"
    default_split = "val2017"
    embedded_split = "embedded-val"

    def layout(self, split: str) -> str:
        return official.layout(split)

    def splits(self, root: Path) -> tuple[str, ...]:
        return official.splits(root)

    def load(self, root: Path, split: str) -> Dataset:
        return official.load(root, split)

    def make_embedded(self, root: Path, split: str, progress: Callable[[int, int], None]) -> Path:
        from benchmarks.world.coco import make_split

        return make_split(root, split, progress)

    def pictures(self, dataset: Dataset) -> Path:
        return official.picture_folder(dataset)

    def training_samples(
        self, dataset: Dataset, skeleton: Skeleton
    ) -> list[tuple[Sample, Mapping[str, NDArray[Any]]]]:
        """Return the truth in COCO's joints, or on embedded splits in COCO's and MPII's."""
        if skeleton != COCO_MPII_21:
            return super().training_samples(dataset, skeleton)
        extra = official.extra_keypoints(dataset)
        return official.training_samples(dataset, self.pictures(dataset), extra)

    def write_submission(
        self, predictions: Predictions, dataset: Dataset, protocol: Protocol, path: Path
    ) -> None:
        """Write the official results, as a .zip for the evaluation server or plain .json."""
        write_results(predictions, dataset, path)

    def metrics(
        self, statistics: Statistics, protocol: OksProtocol, weights: NDArray[np.int64] | None
    ) -> Draws:
        values = precision_recall(statistics, protocol.recall_points, weights)
        half, three_quarters = (protocol.thresholds.index(t) for t in (0.5, 0.75))
        every, medium, large = (protocol.size(name) for name in ("all", "medium", "large"))
        metrics = {}
        for name, mean in (
            ("AP", PrecisionRecall.average_precision),
            ("AR", PrecisionRecall.average_recall),
        ):
            metrics[name] = mean(values, every)
            metrics[f"{name}50"] = mean(values, every, half)
            metrics[f"{name}75"] = mean(values, every, three_quarters)
            metrics[f"{name}_M"] = mean(values, medium)
            metrics[f"{name}_L"] = mean(values, large)
        return metrics

    def error_analysis(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> dict[str, Any]:
        """Count jitter, inversions, swaps and misses, and say what each kind costs in AP."""
        assert isinstance(protocol, OksProtocol)
        truth: official.CocoTruth = dataset.truth
        known = set(predictions.sample_ids)
        predictions = predictions.select([i for i in dataset.sample_ids if i in known])
        position = positions_in(dataset, predictions)
        people = Ragged(np.arange(len(truth.id)), truth.offsets).take(position)
        rows = people.values
        found = analyse(
            Detected(*kept_detections(predictions, protocol, len(self.skeleton))),
            Annotated(
                truth.keypoints[rows, :, :2],
                truth.labelled[rows],
                truth.area[rows],
                truth.box[rows],
                truth.crowd[rows],
                people.offsets,
            ),
            protocol.sigmas,
            self.skeleton.flip_order,
        )
        return found.document(self.skeleton.joints)

    def breakdown(self, statistics: Statistics, protocol: Protocol) -> dict[str, dict[str, float]]:
        """Return AP by size and, by joint, the mean similarity over the labelled joints of all
        people found at the lowest OKS threshold.
        """
        metrics = self.compute(statistics, protocol)
        sizes = {"medium": metrics["AP_M"], "large": metrics["AP_L"]}
        return super().breakdown(statistics, protocol) | {"size": sizes}
