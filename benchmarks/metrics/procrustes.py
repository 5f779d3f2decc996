"""Procrustes alignment of predicted to true poses, frame by frame.

Least squares over translation, rotation and, where asked for, scale and reflection. Sources:
Gower, Generalized Procrustes Analysis, 1975; Umeyama, PAMI 1991 (rotation without reflection).
"""

from __future__ import annotations

import numpy as np

from benchmarks.metrics.averages import Floats

_FRAMES = 1 << 12  # at once: bounds the memory of the intermediate arrays


def align(
    predicted: Floats, truth: Floats, *, scale: bool = True, reflection: bool = False
) -> Floats:
    """Move predicted poses onto the truth.

    Parameters
    ----------
    predicted, truth : array (n, K, 3)
        Finite, in one unit.
    scale : bool
        Whether the pose may be scaled.
    reflection : bool
        Whether it may be mirrored. Almost every protocol forbids it: a mirrored pose is wrong.

    Returns
    -------
    array (n, K, 3)
        ``s R p + t`` with the least sum of squared distances to the truth. A pose whose points all
        coincide comes out at the truth's centre.

    Examples
    --------
    >>> truth = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]]])
    >>> turned = 2 * truth @ np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]) + [5, 6, 7]
    >>> bool(np.allclose(align(turned, truth), truth))
    True
    >>> mirrored = truth * [-1, 1, 1]
    >>> bool(np.allclose(align(mirrored, truth), truth))
    False
    >>> bool(np.allclose(align(mirrored, truth, reflection=True), truth))
    True
    """
    parts = [
        _align(
            predicted[start : start + _FRAMES], truth[start : start + _FRAMES], scale, reflection
        )
        for start in range(0, len(predicted), _FRAMES)
    ]
    return np.concatenate(parts) if parts else predicted


def _align(predicted: Floats, truth: Floats, scale: bool, reflection: bool) -> Floats:
    centre = truth.mean(axis=1, keepdims=True)
    away = predicted - predicted.mean(axis=1, keepdims=True)
    left, strength, right = np.linalg.svd(away.transpose(0, 2, 1) @ (truth - centre))
    if not reflection:
        mirrored = np.linalg.det(left @ right) < 0
        left[mirrored, :, 2] *= -1
        strength[mirrored, 2] *= -1
    turned = away @ (left @ right)
    if scale:
        spread = np.einsum("nkc,nkc->n", away, away)
        total = strength.sum(axis=1)
        factor = np.divide(total, spread, out=np.zeros_like(total), where=spread > 0)
        turned *= factor[:, None, None]
    return np.asarray(turned + centre)
