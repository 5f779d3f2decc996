"""Person boxes of COCO: average precision and recall of detectors (Lin et al., ECCV 2014).

The numbers are those of pycocotools 2.0 (``COCOeval`` with ``iouType="bbox"``, category 1 alone) to
the last bit, with NaN where that tool has -1 for "no value".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import coco as official
from benchmarks.datasets.coco import CocoTruth
from benchmarks.datasets.coco_results import read_boxes
from benchmarks.metrics.average_precision import best, precision_recall
from benchmarks.metrics.crowd_iou import crowd_iou
from benchmarks.metrics.matching import best_rows, match, outcomes, pairs_within
from benchmarks.protocols.oks_ap import (
    ApProtocol,
    outside,
    positions_in,
    precision_curves,
    rank_within,
    sum_by,
)
from harness.api import (
    BOXES,
    Benchmark,
    Column,
    Curve,
    Dataset,
    Predictions,
    Protocol,
    Ragged,
    Sample,
    Statistics,
    quirk,
)


@dataclass(frozen=True, kw_only=True)
class PersonBoxProtocol(ApProtocol):
    """The official box evaluation of the category person."""

    overlap: str = quirk(
        "Similarity of two boxes.",
        default="IoU on a continuous plane (no + 1); with a crowd, intersection / detection area",
    )
    max_detections: tuple[int, ...] = quirk(
        "Detections of an image, by score, for AR1, AR10 and AR100; all else takes the most. "
        "Matching is done once with the most, the smaller numbers are cut from it.",
        default=(1, 10, 100),
    )


class CocoPerson(Benchmark):
    """COCO person boxes: what a top-down method is given by its detector."""

    name: ClassVar[str] = "coco-person"
    title: ClassVar[str] = "COCO person detection"
    citation: ClassVar[str] = (
        "Lin, Maire, Belongie, Hays, Perona, Ramanan, Dollár, Zitnick. "
        "Microsoft COCO: Common Objects in Context. ECCV 2014"
    )
    obtain: ClassVar[str] = (
        "Download '2017 Val images' and '2017 Train/Val annotations' from cocodataset.org "
        "(annotations CC BY 4.0; the pictures keep the licences of their owners)."
    )
    schema = BOXES
    skeleton = None
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "official": PersonBoxProtocol(
            variant="official",
            title="COCO boxes, official evaluation of the category person",
            benchmark="coco-person",
            area_ranges=(
                ("all", 0.0, 1e10),
                ("small", 0.0, 32.0**2),
                ("medium", 32.0**2, 96.0**2),
                ("large", 96.0**2, 1e10),
            ),
            truth_area="the annotation's area field (of its segmentation)",
            detection_area="w h of its box: outside the size range, one that matches nothing is "
            "ignored",
            ignored_truth="iscrowd = 1 or area outside the size range",
        )
    }
    columns = (
        Column("AP", "AP", 100.0),
        Column("AP50", "AP⁵⁰", 100.0),
        Column("AP75", "AP⁷⁵", 100.0),
        Column("AP_S", "APˢ", 100.0),
        Column("AP_M", "APᴹ", 100.0),
        Column("AP_L", "APᴸ", 100.0),
        Column("AR1", "AR¹", 100.0),
        Column("AR10", "AR¹⁰", 100.0),
        Column("AR100", "AR¹⁰⁰", 100.0),
        Column("AR_S", "ARˢ", 100.0),
        Column("AR_M", "ARᴹ", 100.0),
        Column("AR_L", "ARᴸ", 100.0),
    )
    primary = "AP"
    default_split = "val2017"
    embedded_split = "embedded-val"

    def layout(self, split: str) -> str:
        return official.box_layout(split)

    def splits(self, root: Path) -> tuple[str, ...]:
        return official.box_splits(root)

    def load(self, root: Path, split: str) -> Dataset:
        return official.load_boxes(root, split)

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        """Return the images; a detector is given no boxes."""
        return official.samples(dataset, official.picture_folder(dataset), False, None)

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read the official results format: a list of objects with ``image_id``, ``category_id``,
        ``bbox`` (x, y, w, h) and ``score``; of all categories people are kept.
        """
        boxes, score, offsets = read_boxes(path, dataset.truth.image_id)
        columns = {"box": boxes, "score": score}
        return Predictions(BOXES, dataset.sample_ids, offsets, columns)

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        assert isinstance(protocol, PersonBoxProtocol)
        truth: CocoTruth = dataset.truth
        position = positions_in(dataset, predictions)
        people = Ragged(np.arange(len(truth.id)), truth.offsets).take(position)
        rows = people.values
        ignored = truth.crowd[rows, None] | outside(truth.area[rows], protocol)
        score = predictions.columns.get("score", np.zeros(0))
        kept, offsets = best_rows(score, predictions.offsets, max(protocol.max_detections))
        boxes = predictions.columns.get("box", np.zeros((0, 4)))[kept]
        pairs = pairs_within(offsets, people.offsets)
        winner = match(
            crowd_iou(boxes, truth.box[rows], truth.crowd[rows], pairs),
            pairs,
            rank_within(offsets),
            ignored,
            truth.crowd[rows],
            protocol.thresholds,
            protocol.match_guard,
        )
        outcome = outcomes(winner, ignored, outside(boxes[:, 2] * boxes[:, 3], protocol))
        truths = sum_by(people.owner, (~ignored).astype(np.int64), len(position))
        return Statistics(
            position,
            {
                "score": Ragged(score[kept], offsets),
                "outcome": Ragged(outcome, offsets),
                "truths": truths,
            },
        )

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        draws = _metrics(statistics, protocol, None if weights is None else weights[None])
        return {name: float(values[0]) for name, values in draws.items()}

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        return _metrics(statistics, protocol, weights)

    def curves(self, statistics: Statistics, protocol: Protocol) -> list[Curve]:
        assert isinstance(protocol, PersonBoxProtocol)
        return precision_curves(statistics, protocol, "IoU")

    def breakdown(self, statistics: Statistics, protocol: Protocol) -> dict[str, dict[str, float]]:
        """Return AP by size."""
        metrics = self.compute(statistics, protocol)
        names = {"small": "AP_S", "medium": "AP_M", "large": "AP_L"}
        return {"size": {size: metrics[name] for size, name in names.items()}}

    def per_sample(
        self, statistics: Statistics, protocol: Protocol
    ) -> dict[str, NDArray[np.float64]]:
        """Return the share of an image's people found at the lowest threshold."""
        outcome = statistics.ragged("outcome")
        found = sum_by(outcome.owner, (outcome.values[:, 0, 0] == 1).astype(float), len(statistics))
        people = statistics.dense("truths")[:, 0]
        return {"found": np.where(people > 0, found / np.maximum(people, 1), np.nan)}


def _metrics(
    statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64] | None
) -> dict[str, NDArray[np.float64]]:
    assert isinstance(protocol, PersonBoxProtocol)
    half, three_quarters = (protocol.thresholds.index(t) for t in (0.5, 0.75))
    sizes = {letter[0].upper(): protocol.size(letter) for letter in ("small", "medium", "large")}
    values = precision_recall(statistics, protocol.recall_points, weights)
    metrics = {
        "AP": values.average_precision(0),
        "AP50": values.average_precision(0, half),
        "AP75": values.average_precision(0, three_quarters),
    }
    metrics |= {f"AP_{name}": values.average_precision(size) for name, size in sizes.items()}
    for most in protocol.max_detections:
        few = precision_recall(best(statistics, most), protocol.recall_points, weights)
        metrics[f"AR{most}"] = few.average_recall(0)
    return metrics | {f"AR_{name}": values.average_recall(size) for name, size in sizes.items()}
