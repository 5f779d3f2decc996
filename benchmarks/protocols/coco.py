"""COCO person keypoints: OKS, average precision and recall (Lin et al., ECCV 2014).

The numbers are those of pycocotools 2.0 (``COCOeval`` with ``iouType="keypoints"``) to the last
bit, with NaN where that tool has -1 for "no value".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import coco as official
from benchmarks.metrics.average_precision import PrecisionRecall
from benchmarks.protocols.oks_ap import (
    OksProtocol,
    joint_similarity,
    keypoint_statistics,
    mean_oks,
    precision_and_recall,
    precision_curves,
)
from harness.api import (
    COCO_17,
    PEOPLE_2D,
    Benchmark,
    Column,
    Curve,
    Dataset,
    Predictions,
    Protocol,
    Sample,
    Statistics,
    quirk,
)

# The official code writes tenfold sigmas and divides: some quotients are not the decimals' bits.
_TENFOLD_SIGMAS = (
    0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72,
    0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CocoProtocol(OksProtocol):
    """The official keypoint evaluation."""

    sigmas: tuple[float, ...] = quirk(
        "Standard deviation of each joint in the OKS, relative to the square root of the area.",
        default=tuple(tenfold / 10 for tenfold in _TENFOLD_SIGMAS),
    )
    area_ranges: tuple[tuple[str, float, float], ...] = quirk(
        "Size ranges in square pixels, both bounds included.",
        default=(("all", 0.0, 1e10), ("medium", 32.0**2, 96.0**2), ("large", 96.0**2, 1e10)),
    )
    truth_area: str = quirk(
        "Area of an annotated person, in the OKS and in the size ranges.",
        default="the annotation's area field (of its segmentation)",
    )
    ground_truth_boxes: str = quirk(
        "Who has a box where boxes come from the ground truth, and how it is cut.",
        default="num_keypoints > 0, area > 0, no crowd; x2 = min(width - 1, x + max(0, w - 1)), "
        "w = x2 - x, and y alike",
    )


class Coco(Benchmark):
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
    schema = PEOPLE_2D
    skeleton = COCO_17
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "official": CocoProtocol(
            variant="official",
            title="COCO keypoints, official evaluation",
            benchmark="coco",
            box_source="ground truth",
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

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        return official.samples(dataset, protocol.box_source == "ground truth", detections)

    def training_samples(self, dataset: Dataset) -> list[tuple[Sample, Mapping[str, NDArray[Any]]]]:
        """Return the images with labelled people; the truth also holds ``area`` (n,)."""
        return official.training_samples(dataset)

    def make_embedded(self, root: Path, split: str, progress: Callable[[int, int], None]) -> Path:
        from benchmarks.world.coco import make_split

        return make_split(root, split, progress)

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read the official results format: a list of objects with ``image_id``, ``category_id``,
        ``keypoints`` (17 times x, y, confidence) and ``score``.
        """
        return official.read_results(path, dataset, joints=len(COCO_17))

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        return keypoint_statistics(dataset, predictions, cast("CocoProtocol", protocol))

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        draws = None if weights is None else np.asarray(weights)[None]
        return {k: float(v[0]) for k, v in self._metrics(statistics, protocol, draws).items()}

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        return self._metrics(statistics, protocol, weights)

    def _metrics(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64] | None
    ) -> dict[str, NDArray[np.float64]]:
        assert isinstance(protocol, CocoProtocol)
        values = precision_and_recall(statistics, protocol, weights)
        half, three_quarters = (protocol.oks_thresholds.index(t) for t in (0.5, 0.75))
        names = [name for name, *_ in protocol.area_ranges]
        every, medium, large = (names.index(name) for name in ("all", "medium", "large"))
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

    def curves(self, statistics: Statistics, protocol: Protocol) -> list[Curve]:
        return precision_curves(statistics, cast("CocoProtocol", protocol))

    def breakdown(self, statistics: Statistics, protocol: Protocol) -> dict[str, dict[str, float]]:
        """Return AP by size and, by joint, the mean similarity over the labelled joints of all
        people found at the lowest OKS threshold.
        """
        metrics = self.compute(statistics, protocol)
        return {
            "joint": joint_similarity(statistics, COCO_17),
            "size": {"medium": metrics["AP_M"], "large": metrics["AP_L"]},
        }

    def per_sample(
        self, statistics: Statistics, protocol: Protocol
    ) -> dict[str, NDArray[np.float64]]:
        """Return the mean OKS over an image's people that count; one not found counts 0."""
        return {"oks": mean_oks(statistics)}
