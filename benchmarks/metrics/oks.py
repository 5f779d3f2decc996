"""Object keypoint similarity (OKS) of detected and annotated people.

The definition is that of COCO (Lin et al., 2014; cocodataset.org, keypoint evaluation), to the last
bit as pycocotools 2.0 computes it: the order of every floating-point operation is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2048  # pairs at once: the working arrays stay in the processor's cache

Floats = NDArray[np.float64]


def object_keypoint_similarity(
    detected: Floats,
    annotated: Floats,
    labelled: NDArray[np.bool_],
    area: Floats,
    box: Floats,
    sigmas: Sequence[float],
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> Floats:
    """Return the OKS of pairs of a detected and an annotated person.

    OKS is the mean of ``exp(-d^2 / (2 (2 sigma)^2 area))`` over the labelled joints. A person
    without any labelled joint is compared by its box, grown by its own size to each side: ``d`` is
    then a joint's distance to that box, and the mean runs over all joints.

    Parameters
    ----------
    detected : array (D, K, 2)
        x, y in pixels; NaN for a joint that was not predicted (its similarity is 0).
    annotated : array (G, K, 2)
    labelled : bool array (G, K)
    area : array (G,)
        Square pixels.
    box : array (G, 4)
        x, y, w, h in pixels.
    sigmas : K floats
    pairs : two int arrays (P,)
        Row of ``detected`` and row of ``annotated`` of each pair.

    Returns
    -------
    array (P,)
        Within 0..1.

    Examples
    --------
    >>> person = np.zeros((1, 2, 2))
    >>> object_keypoint_similarity(
    ...     person + [0.1, 0.0], person, np.ones((1, 2), bool), np.ones(1), np.ones((1, 4)),
    ...     (0.05, 0.05), (np.array([0]), np.array([0])),
    ... ).round(4)
    array([0.6065])
    """
    detected_xy, annotated_xy = _planes(detected), _planes(annotated)
    count = labelled.sum(axis=1)
    joints_of_pair = count[pairs[1]]
    result = np.zeros(len(pairs[0]))
    # All pairs of a group have equally many terms: their sums are numpy's one-dimensional ones.
    for joints in np.unique(joints_of_pair):
        group = np.flatnonzero(joints_of_pair == joints)
        for start in range(0, len(group), _CHUNK):
            rows = group[start : start + _CHUNK]
            detection, person = pairs[0][rows], pairs[1][rows]
            both = zip(detected_xy, annotated_xy, box[person, :2].T, box[person, 2:].T, strict=True)
            if joints:
                x, y = (d[detection] - a[person] for d, a, _, _ in both)
            else:
                x, y = (_beyond(d[detection], corner, size) for d, _, corner, size in both)
            error = _scaled_error(x, y, area[person], sigmas)
            if joints:
                error = error[labelled[person]].reshape(len(rows), joints)
            result[rows] = np.exp(-error).sum(axis=1) / error.shape[1]
    return result


def keypoint_similarity(
    detected: Floats, annotated: Floats, area: Floats, sigmas: Sequence[float]
) -> Floats:
    """Return the similarity (P, K) of each joint of P pairs of people (P, K, 2)."""
    x, y = (d - a for d, a in zip(_planes(detected), _planes(annotated), strict=True))
    return np.exp(-_scaled_error(x, y, area, sigmas))


def keypoint_extent(keypoints: Floats) -> Floats:
    """Return the area (D,) of the smallest box around the predicted joints (D, K, 2)."""
    joints_first = np.ascontiguousarray(keypoints.transpose(1, 2, 0))  # ten times faster so
    # fmin and fmax pass over NaN, unless there is nothing else.
    side = np.fmax.reduce(joints_first, axis=0) - np.fmin.reduce(joints_first, axis=0)
    area: Floats = np.nan_to_num(side[0] * side[1])
    return area


def _planes(keypoints: Floats) -> Floats:
    """Return x and y (2, n, K), each in one piece, with infinity for NaN."""
    planes = np.ascontiguousarray(keypoints.transpose(2, 0, 1))
    planes[np.isnan(planes)] = np.inf
    return planes


def _scaled_error(x: Floats, y: Floats, area: Floats, sigmas: Sequence[float]) -> Floats:
    """Return ``d^2 / (2 (2 sigma)^2 area)`` (P, K) of offsets x and y (P, K)."""
    variance = (np.asarray(sigmas) * 2) ** 2
    error: Floats = (x**2 + y**2) / variance / (area + np.spacing(1.0))[:, None] / 2
    return error


def _beyond(joints: Floats, corner: Floats, size: Floats) -> Floats:
    """Return how far joints (P, K) lie outside sides (P,) that are grown to three times."""
    below = np.maximum(0.0, (corner - size)[:, None] - joints)
    above = np.maximum(0.0, joints - (corner + size * 2)[:, None])
    return below + above
