"""The keypoint evaluation that COCO and CrowdPose share, and what it shares with COCO's boxes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import coco as official
from benchmarks.datasets.coco import CocoTruth
from benchmarks.datasets.coco_results import read_results
from benchmarks.metrics.average_precision import precision_recall
from benchmarks.metrics.matching import (
    TRUE_POSITIVE,
    best_rows,
    match,
    outcomes,
    pairs_within,
)
from benchmarks.metrics.oks import (
    keypoint_extent,
    keypoint_similarity,
    object_keypoint_similarity,
)
from harness.api import (
    PEOPLE_2D,
    Benchmark,
    Curve,
    Dataset,
    Predictions,
    Protocol,
    Ragged,
    Sample,
    Skeleton,
    Statistics,
    quirk,
    require_skeleton,
)

Draws = Mapping[str, NDArray[np.float64]]
"""Metrics by name, each (B,) of B weighted draws."""


@dataclass(frozen=True, kw_only=True)
class ApProtocol(Protocol):
    """Average precision and recall as COCO defines them."""

    thresholds: tuple[float, ...] = quirk(
        "Similarity (OKS or IoU) from which on a detection is correct; AP and AR are means over "
        "all of them.",
        default=tuple(float(threshold) for threshold in np.linspace(0.5, 0.95, 10)),
    )
    match_guard: float = quirk(
        "A match needs a similarity >= min(threshold, 1 - match_guard).", default=1e-10
    )
    recall_points: int = quirk(
        "Precision is read at so many equally spaced recalls from 0 to 1: the highest precision "
        "at that recall or beyond.",
        default=101,
    )
    area_ranges: tuple[tuple[str, float, float], ...] = quirk(
        "Size ranges in square pixels, both bounds included."
    )
    truth_area: str = quirk("Area of an annotated person.")
    detection_area: str = quirk(
        "Area of a detection: one outside the size range that matches nothing is ignored."
    )
    ignored_truth: str = quirk(
        "Annotations that count neither as found nor as missed; what matches them is ignored too."
    )
    rematch: str = quirk(
        "How often an annotation is matched.", default="a crowd any number of times, others once"
    )
    equal_similarity: str = quirk(
        "Which annotation is matched where similarity is equal.",
        default="one that is not ignored, then the later in the file",
    )
    equal_scores: str = quirk(
        "Rank of detections with equal scores.", default="by image id, then as in the file"
    )
    precision_guard: float = quirk(
        "Added to the number of detections when precision is divided by it.",
        default=float(np.spacing(1.0)),
    )

    def size(self, name: str) -> int:
        """Return the number of a size range."""
        return [own for own, _, _ in self.area_ranges].index(name)


@dataclass(frozen=True, kw_only=True)
class OksProtocol(ApProtocol):
    """Average precision over object keypoint similarity."""

    sigmas: tuple[float, ...] = quirk(
        "Standard deviation of each joint in the OKS, relative to the square root of the area."
    )
    max_detections: int = quirk("Detections kept in an image, by score.", default=20)
    detection_area: str = quirk(
        "Area of a detection: one outside the size range that matches nothing is ignored.",
        default="w h of its box where the predictions carry boxes, "
        "otherwise the extent of all predicted joints",
    )
    ignored_truth: str = quirk(
        "Annotations that count neither as found nor as missed; what matches them is ignored too.",
        default="iscrowd = 1, num_keypoints = 0, or area outside the size range",
    )
    unlabelled_person: str = quirk(
        "OKS with a person without any labelled joint.",
        default="distance of all joints to the box grown by its own size on each side",
    )
    missing_joint: str = quirk("A joint that the method does not predict.", default="similarity 0")
    ground_truth_boxes: str = quirk(
        "Who has a box where boxes come from the ground truth, and how it is cut.",
        default="num_keypoints > 0, area > 0, no crowd; x2 = min(width - 1, x + max(0, w - 1)), "
        "w = x2 - x, and y alike",
    )


class OksBenchmark(Benchmark):
    """A benchmark of many people's 2D keypoints in COCO's formats.

    Required beside a benchmark's own: :meth:`pictures` and :meth:`metrics`.
    """

    schema = PEOPLE_2D
    skeleton: ClassVar[Skeleton]

    @abstractmethod
    def pictures(self, dataset: Dataset) -> Path:
        """Return the folder of the split's pictures; PrerequisiteError if there is none."""

    @abstractmethod
    def metrics(
        self, statistics: Statistics, protocol: OksProtocol, weights: NDArray[np.int64] | None
    ) -> Draws:
        """Compute the metrics of weighted draws (B, n); None: one draw, every image once."""

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        with_boxes = protocol.box_source == "ground truth"
        return official.samples(dataset, self.pictures(dataset), with_boxes, detections)

    def training_samples(
        self, dataset: Dataset, skeleton: Skeleton
    ) -> list[tuple[Sample, Mapping[str, NDArray[Any]]]]:
        """Return the images that have people with boxes; the truth also holds ``area`` (n,)."""
        require_skeleton(self, skeleton)
        return official.training_samples(dataset, self.pictures(dataset))

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read the official results format: a list of objects with ``image_id``, ``category_id``,
        ``keypoints`` (K times x, y, confidence) and ``score``.
        """
        return read_results(path, dataset, len(self.skeleton))

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        assert isinstance(protocol, OksProtocol)
        return keypoint_statistics(dataset, predictions, protocol)

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        assert isinstance(protocol, OksProtocol)
        draws = self.metrics(statistics, protocol, None if weights is None else weights[None])
        return {name: float(values[0]) for name, values in draws.items()}

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        assert isinstance(protocol, OksProtocol)
        return dict(self.metrics(statistics, protocol, weights))

    def curves(self, statistics: Statistics, protocol: Protocol) -> list[Curve]:
        assert isinstance(protocol, OksProtocol)
        return precision_curves(statistics, protocol, "OKS")

    def breakdown(self, statistics: Statistics, protocol: Protocol) -> dict[str, dict[str, float]]:
        """Return by joint the mean similarity over the labelled joints of all people found at the
        lowest OKS threshold.
        """
        total = statistics.dense("joint_similarity").sum(axis=0)
        count = statistics.dense("joint_count").sum(axis=0)
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return {"joint": dict(zip(self.skeleton.joints, mean.tolist(), strict=True))}

    def per_sample(
        self, statistics: Statistics, protocol: Protocol
    ) -> dict[str, NDArray[np.float64]]:
        """Return the mean OKS over an image's people that count; one not found counts 0."""
        people = statistics.dense("truths")[:, 0]
        total = statistics.dense("oks")
        return {"oks": np.where(people > 0, total / np.maximum(people, 1), np.nan)}


def positions_in(dataset: Dataset, predictions: Predictions) -> NDArray[np.int64]:
    """Return each predicted sample's place in the split, (n,)."""
    place = {sample_id: i for i, sample_id in enumerate(dataset.sample_ids)}
    return np.array([place[sample_id] for sample_id in predictions.sample_ids], dtype=np.int64)


def outside(area: NDArray[np.float64], protocol: ApProtocol) -> NDArray[np.bool_]:
    """Say for each area (n,) whether it is outside each size range: (n, A)."""
    limits = np.array([limit[1:] for limit in protocol.area_ranges])
    return np.asarray((area[:, None] < limits[:, 0]) | (area[:, None] > limits[:, 1]))


def sum_by(owner: NDArray[np.int64], values: NDArray[Any], count: int) -> NDArray[Any]:
    """Sum the rows of ``values`` by owner, (count, ...), one after the other."""
    total = np.zeros((count, *values.shape[1:]), dtype=values.dtype)
    np.add.at(total, owner, values)
    return total


def rank_within(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each row's place in its sample, (offsets[-1],)."""
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))


def keypoint_statistics(
    dataset: Dataset, predictions: Predictions, protocol: OksProtocol
) -> Statistics:
    """Match detected people with annotated ones, image by image.

    Columns, beside those of :mod:`benchmarks.metrics.average_precision`: ``oks`` (n,), the sum of
    OKS over the people that count and are found at the lowest threshold in the first size range;
    over their labelled joints ``joint_similarity`` and ``joint_count`` (n, K).
    """
    truth: CocoTruth = dataset.truth
    position = positions_in(dataset, predictions)
    people = Ragged(np.arange(len(truth.id)), truth.offsets).take(position)
    rows = people.values
    keypoints, labelled, area = truth.keypoints[rows, :, :2], truth.labelled[rows], truth.area[rows]
    uncounted = truth.crowd[rows] | (truth.num_keypoints[rows] == 0)
    ignored = uncounted[:, None] | outside(area, protocol)

    detected, score, size, offsets = kept_detections(predictions, protocol, keypoints.shape[1])
    pairs = pairs_within(offsets, people.offsets)
    winner = match(
        object_keypoint_similarity(
            detected, keypoints, labelled, area, truth.box[rows], protocol.sigmas, pairs
        ),
        pairs,
        rank_within(offsets),
        ignored,
        truth.crowd[rows],
        protocol.thresholds,
        protocol.match_guard,
    )
    outcome = outcomes(winner, ignored, outside(size, protocol))

    found = np.flatnonzero(outcome[:, 0, 0] == TRUE_POSITIVE)
    person = winner[found, 0, 0]
    joints = keypoint_similarity(detected[found], keypoints[person], area[person], protocol.sigmas)
    seen = labelled[person]
    oks = (joints * seen).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    per_image = {
        "truths": sum_by(people.owner, (~ignored).astype(np.int64), len(position)),
        "oks": sum_by(people.owner[person], oks, len(position)),
        "joint_similarity": sum_by(people.owner[person], joints * seen, len(position)),
        "joint_count": sum_by(people.owner[person], seen.astype(np.int64), len(position)),
    }
    ranked = {"score": Ragged(score, offsets), "outcome": Ragged(outcome, offsets)}
    return Statistics(position, {**ranked, **per_image})


def kept_detections(
    predictions: Predictions, protocol: OksProtocol, joints: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return keypoints (D, K, 2), score and area (D,) of the detections kept, and their offsets."""
    columns = predictions.columns
    keypoints = columns.get("keypoints", np.zeros((0, joints, 2)))
    if keypoints.shape[1] != joints:
        raise ValueError(f"predictions have {keypoints.shape[1]} joints, the truth has {joints}")
    score = columns.get("score", np.zeros(0))
    kept, offsets = best_rows(score, predictions.offsets, protocol.max_detections)
    keypoints = keypoints[kept]
    if "box" in columns:
        size = columns["box"][kept, 2] * columns["box"][kept, 3]
    else:
        size = keypoint_extent(keypoints)
    return keypoints, score[kept], size, offsets


def precision_curves(statistics: Statistics, protocol: ApProtocol, similarity: str) -> list[Curve]:
    """Return precision over recall at .50 and .75 of the similarity and the mean over all."""
    precision = precision_recall(statistics, protocol.recall_points).precision[0, 0]
    if np.isnan(precision).any():
        return []
    lines = {
        f"{similarity} 0.50": precision[protocol.thresholds.index(0.5)],
        f"{similarity} 0.75": precision[protocol.thresholds.index(0.75)],
        f"mean over {similarity} 0.50 to 0.95": precision.mean(axis=0),
    }
    recall = np.linspace(0.0, 1.0, protocol.recall_points)
    return [Curve(name, recall, line, "recall", "precision") for name, line in lines.items()]
