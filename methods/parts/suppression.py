"""Scores of people, and suppression of doubled ones by object keypoint similarity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.api import Rows, Sample


def pose_similarity(
    keypoints: NDArray[np.float64], areas: NDArray[np.float64], sigmas: Sequence[float]
) -> NDArray[np.float64]:
    """Return the OKS between all pairs of poses, (n, n).

    The mean over *all* joints of exp(-d^2 / (2 (2 sigma)^2 a)), with ``a`` the mean of the two
    areas: no joint is left out for low confidence.

    Parameters
    ----------
    keypoints : array (n, K, 2)
        Pixels.
    areas : array (n,)
        Square pixels.
    sigmas : sequence of float (K,)
    """
    squared = np.square(keypoints[:, None] - keypoints[None]).sum(axis=-1)
    variances = np.square(2 * np.asarray(sigmas))
    area = (areas[:, None] + areas[None]) / 2 + np.spacing(1)
    similarity: NDArray[np.float64] = np.exp(-squared / variances / area[..., None] / 2).mean(
        axis=-1
    )
    return similarity


def oks_nms(
    keypoints: NDArray[np.float64],
    scores: NDArray[np.float64],
    areas: NDArray[np.float64],
    sigmas: Sequence[float],
    threshold: float,
) -> NDArray[np.int64]:
    """Return the rows that survive, highest score first.

    A pose is dropped when its OKS with a surviving one of higher score is above the threshold
    (equal stays). Equal scores keep their order. Same result as ``oks_nms`` of HRNet @ 6f69e46.

    Examples
    --------
    >>> twice = np.zeros((2, 17, 2))
    >>> from harness.api import COCO_17
    >>> oks_nms(twice, np.array([0.2, 0.9]), np.ones(2), COCO_17.sigmas, threshold=0.9)
    array([1])
    """
    similarity = pose_similarity(keypoints, areas, sigmas)
    order = np.argsort(-scores, kind="stable")
    alive = np.ones(len(order), dtype=bool)
    kept = []
    for row in order:
        if alive[row]:
            kept.append(row)
            alive &= similarity[row] <= threshold
    return np.array(kept, dtype=np.int64)


def rescored_people(
    keypoints: NDArray[np.float64],
    keypoint_scores: NDArray[np.float64],
    sample: Sample,
    areas: NDArray[np.float64],
    sigmas: Sequence[float],
    visible_score: float,
    nms_threshold: float,
) -> Rows:
    """Return a sample's people as prediction columns: scored, and without doubled ones.

    A person's score is the box's, times the mean of the joint scores above ``visible_score`` (0 if
    there is none). People in boxes go through :func:`oks_nms` and come out by falling score;
    people that the sample asks for one by one, without boxes, all stay in their order.
    """
    sure = keypoint_scores > visible_score
    scores = np.where(sure, keypoint_scores, 0).sum(axis=1) / np.maximum(sure.sum(axis=1), 1)
    if sample.box_scores is not None:
        scores = scores * sample.box_scores
    kept = np.arange(len(scores))
    if sample.boxes is not None:
        kept = oks_nms(keypoints, scores, areas, sigmas, nms_threshold)
    return {
        "keypoints": keypoints[kept],
        "keypoint_scores": keypoint_scores[kept],
        "score": scores[kept],
    }
