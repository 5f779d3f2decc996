"""What the keypoint evaluations of COCO and CrowdPose share: OKS, matching, AP and AR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.coco import CocoTruth
from benchmarks.metrics.average_precision import PrecisionRecall, precision_recall
from benchmarks.metrics.matching import best_rows, match, outcomes, pairs_within
from benchmarks.metrics.oks import (
    keypoint_extent,
    keypoint_similarity,
    object_keypoint_similarity,
)
from harness.api import Curve, Dataset, Predictions, Protocol, Ragged, Skeleton, Statistics, quirk

THRESHOLDS = tuple(float(threshold) for threshold in np.linspace(0.5, 0.95, 10))


@dataclass(frozen=True, kw_only=True)
class OksProtocol(Protocol):
    """Average precision over object keypoint similarity."""

    sigmas: tuple[float, ...] = quirk(
        "Standard deviation of each joint in the OKS, relative to the square root of the area."
    )
    oks_thresholds: tuple[float, ...] = quirk(
        "OKS from which on a detection is correct; AP and AR are means over them.",
        default=THRESHOLDS,
    )
    match_guard: float = quirk(
        "A match needs OKS >= min(threshold, 1 - match_guard).", default=1e-10
    )
    recall_points: int = quirk(
        "Precision is read at so many equally spaced recalls from 0 to 1: the highest precision "
        "at that recall or beyond.",
        default=101,
    )
    area_ranges: tuple[tuple[str, float, float], ...] = quirk(
        "Size ranges in square pixels, both bounds included."
    )
    truth_area: str = quirk("Area of an annotated person, in the OKS and in the size ranges.")
    detection_area: str = quirk(
        "Area of a detection, in the size ranges: one outside that matches nothing is ignored.",
        default="w h of its box where the predictions carry boxes, "
        "otherwise the extent of all predicted joints",
    )
    max_detections: int = quirk("Detections kept in an image, by score.", default=20)
    ignored_truth: str = quirk(
        "Annotations that count neither as found nor as missed; what matches them is ignored too.",
        default="iscrowd = 1, num_keypoints = 0, or area outside the size range",
    )
    rematch: str = quirk(
        "How often an annotation is matched.", default="a crowd any number of times, others once"
    )
    unlabelled_person: str = quirk(
        "OKS with a person without any labelled joint.",
        default="distance of all joints to the box grown by its own size on each side",
    )
    missing_joint: str = quirk("A joint that the method does not predict.", default="similarity 0")
    equal_oks: str = quirk(
        "Which annotation is matched where OKS is equal.",
        default="one that is not ignored, then the later in the file",
    )
    equal_scores: str = quirk(
        "Rank of detections with equal scores.", default="by image id, then as in the file"
    )
    precision_guard: float = quirk(
        "Added to the number of detections when precision is divided by it.",
        default=float(np.spacing(1.0)),
    )


def keypoint_statistics(
    dataset: Dataset, predictions: Predictions, protocol: OksProtocol
) -> Statistics:
    """Match detected people with annotated ones, image by image.

    Columns, beside those of :mod:`benchmarks.metrics.average_precision`: ``oks`` (n,), the sum of
    OKS over the people that count and are found at the lowest threshold in the first size range;
    over their labelled joints ``joint_similarity`` and ``joint_count`` (n, K).
    """
    truth: CocoTruth = dataset.truth
    place = {sample_id: i for i, sample_id in enumerate(dataset.sample_ids)}
    position = np.array([place[sample_id] for sample_id in predictions.sample_ids], np.int64)
    people = Ragged(np.arange(len(truth.id)), truth.offsets).take(position)
    rows, owner = people.values, people.owner
    keypoints, labelled, area = truth.keypoints[rows, :, :2], truth.labelled[rows], truth.area[rows]
    limits = np.array([limit[1:] for limit in protocol.area_ranges])
    uncounted = truth.crowd[rows] | (truth.num_keypoints[rows] == 0)
    ignored = uncounted[:, None] | _outside(area, limits)

    detected, score, size, offsets = _detections(predictions, protocol, keypoints.shape[1])
    pairs = pairs_within(offsets, people.offsets)
    similarity = object_keypoint_similarity(
        detected, keypoints, labelled, area, truth.box[rows], protocol.sigmas, pairs
    )
    rank = np.arange(len(score)) - np.repeat(offsets[:-1], np.diff(offsets))
    winner = match(
        similarity,
        pairs,
        rank,
        ignored,
        truth.crowd[rows],
        protocol.oks_thresholds,
        protocol.match_guard,
    )
    outcome = outcomes(winner, ignored, _outside(size, limits))

    found = np.flatnonzero(outcome[:, 0, 0] == 1)
    person = winner[found, 0, 0]
    joints = keypoint_similarity(detected[found], keypoints[person], area[person], protocol.sigmas)
    joints *= labelled[person]
    oks = joints.sum(axis=1) / np.maximum(labelled[person].sum(axis=1), 1)
    count = len(position)
    return Statistics(
        position,
        {
            "score": Ragged(score, offsets),
            "outcome": Ragged(outcome, offsets),
            "truths": _sum_by(owner, (~ignored).astype(np.int64), count),
            "oks": _sum_by(owner[person], oks, count),
            "joint_similarity": _sum_by(owner[person], joints, count),
            "joint_count": _sum_by(owner[person], labelled[person].astype(np.int64), count),
        },
    )


def precision_and_recall(
    statistics: Statistics, protocol: OksProtocol, weights: NDArray[np.int64] | None = None
) -> PrecisionRecall:
    """Return precision and recall of weighted draws (B, n) of the images."""
    return precision_recall(statistics, protocol.recall_points, weights)


def precision_curves(statistics: Statistics, protocol: OksProtocol) -> list[Curve]:
    """Return precision over recall at OKS .50 and .75 and the mean over all thresholds."""
    precision = precision_and_recall(statistics, protocol).precision[0, 0]
    if np.isnan(precision).any():
        return []
    lines = {
        "OKS 0.50": precision[protocol.oks_thresholds.index(0.5)],
        "OKS 0.75": precision[protocol.oks_thresholds.index(0.75)],
        "mean over OKS 0.50 to 0.95": precision.mean(axis=0),
    }
    recall = np.linspace(0.0, 1.0, protocol.recall_points)
    return [Curve(name, recall, line, "recall", "precision") for name, line in lines.items()]


def joint_similarity(statistics: Statistics, skeleton: Skeleton) -> dict[str, float]:
    """Return each joint's mean similarity over the labelled joints of the people found."""
    total = statistics.dense("joint_similarity").sum(axis=0)
    count = statistics.dense("joint_count").sum(axis=0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return dict(zip(skeleton.joints, mean.tolist(), strict=True))


def mean_oks(statistics: Statistics) -> NDArray[np.float64]:
    """Return each image's mean OKS (n,) over the people that count; one not found counts 0."""
    people = statistics.dense("truths")[:, 0]
    return np.where(people > 0, statistics.dense("oks") / np.maximum(people, 1), np.nan)


def _detections(
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


def _outside(area: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say for each area (n,) and size range (A, 2) whether it lies outside: (n, A)."""
    return np.asarray((area[:, None] < limits[:, 0]) | (area[:, None] > limits[:, 1]))


def _sum_by(owner: NDArray[np.int64], values: NDArray[Any], count: int) -> NDArray[Any]:
    """Sum the rows of ``values`` by owner, (count, ...), in their order."""
    total = np.zeros((count, *values.shape[1:]), dtype=values.dtype)
    np.add.at(total, owner, values)
    return total
