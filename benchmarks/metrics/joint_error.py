"""Distances between predicted and true points in space: MPJPE and its relatives.

MPJPE: Ionescu, Papava, Olaru, Sminchisescu, Human3.6M, PAMI 2014. N-MPJPE: Rhodin, Salzmann, Fua,
ECCV 2018. Success over the worst joint: Taylor et al., The Vitruvian Manifold, CVPR 2012.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.averages import Floats, Ints, mean


def distances(predicted: Floats, truth: Floats) -> Floats:
    """Return the Euclidean distances (n, K) of points (n, K, 3).

    Examples
    --------
    >>> distances(np.array([[[3.0, 4.0, 0.0]]]), np.zeros((1, 1, 3)))
    array([[5.]])
    """
    away = predicted - truth
    return np.asarray(np.sqrt(np.einsum("nkc,nkc->nk", away, away)))


def centred(points: Floats, root: Sequence[int]) -> Floats:
    """Subtract from poses (n, K, 3) the mean of their root joints; unchanged for no root.

    Examples
    --------
    >>> centred(np.array([[[1.0, 2.0, 3.0], [1.0, 2.0, 5.0]]]), [0])
    array([[[0., 0., 0.], [0., 0., 2.]]])
    """
    if not root:
        return points
    return np.asarray(points - points[:, list(root)].mean(axis=1, keepdims=True))


def scaled(predicted: Floats, truth: Floats) -> Floats:
    """Return predicted poses (n, K, 3), each times its least-squares factor to the truth.

    The factor depends on the origin: subtract the root first (N-MPJPE).

    Examples
    --------
    >>> scaled(np.array([[[0.0, 0.0, 2.0]]]), np.array([[[0.0, 1.0, 3.0]]]))
    array([[[0., 0., 3.]]])
    """
    product = np.einsum("nkc,nkc->n", predicted, truth)
    square = np.einsum("nkc,nkc->n", predicted, predicted)
    factor = np.divide(product, square, out=np.zeros_like(product), where=square > 0)
    return np.asarray(factor[:, None, None] * predicted)


def success(errors: Floats, thresholds: Sequence[float] | Floats, weights: Ints) -> Floats:
    """Return the percentage (B, T) of errors (n,) that are ``<=`` each threshold, per draw (B, n).

    Examples
    --------
    >>> success(np.array([5.0, 10.0, 30.0, 50.0]), [10.0, 40.0], np.ones((1, 4), int))
    array([[50., 75.]])
    """
    within: NDArray[np.bool_] = errors[:, None] <= np.asarray(thresholds)
    return 100.0 * mean(within.astype(np.float64), weights)
