"""Geodesic point similarity (GPS): how far apart two points are on the surface of a body.

Source: Guler, Neverova, Kokkinos, DensePose, CVPR 2018, as the evaluator of detectron2's DensePose
project computes it (``densepose_coco_evaluation.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.averages import Floats, Ints

PARTS = 24
BACKGROUND = -1


@dataclass(frozen=True, eq=False)
class Surface:
    """A body surface cut into 24 parts, each unfolded to u, v in 0..1.

    Parameters
    ----------
    part : int array (P,)
        Part (1 to 24) of each vertex of the unfolded surface.
    u, v : array (P,)
    vertex : int array (P,)
        Vertex of the body, 0-based, that it is; vertices on a seam are there several times.
    geodesic : array (V (V - 1) / 2,)
        Distance in metres of vertices i > j (0-based) at ``i (i - 1) / 2 + j``.
    """

    part: Ints
    u: Floats
    v: Floats
    vertex: Ints
    geodesic: NDArray[np.floating]

    def nearest(self, part: Ints, u: Floats, v: Floats) -> Ints:
        """Return the body vertex (n,) nearest in u, v among those of the same part.

        The first of equally near ones; ``BACKGROUND`` where the part is not 1 to 24.
        """
        from scipy.spatial.distance import cdist

        found = np.full(len(part), BACKGROUND)
        for number in np.unique(part[(part >= 1) & (part <= PARTS)]):
            own = np.flatnonzero(self.part == number)
            if not len(own):
                raise ValueError(f"the surface has no vertex of part {number}")
            corners = np.stack([self.u[own], self.v[own]], axis=1)
            wanted = np.flatnonzero(part == number)
            for start in range(0, len(wanted), 4096):
                rows = wanted[start : start + 4096]
                away = cdist(np.stack([u[rows], v[rows]], axis=1), corners)
                found[rows] = self.vertex[own[away.argmin(axis=1)]]
        return found

    def nearest_of_bytes(self, iuv: NDArray[np.uint8]) -> Ints:
        """Return the nearest body vertex (...) of pixels I, U x 255, V x 255 (..., 3)."""
        code = iuv.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        seen, place = np.unique(code, return_inverse=True)
        u, v = (seen >> 8 & 255) / 255.0, (seen & 255) / 255.0
        return np.asarray(self.nearest(seen >> 16, u, v)[place].reshape(code.shape))

    def distance(self, first: Ints, second: Ints) -> Floats:
        """Return distances along the surface in metres; infinite where one is the background."""
        low, high = np.minimum(first, second), np.maximum(first, second)
        apart = (low >= 0) & (low < high)
        place = np.where(apart, high * (high - 1) // 2 + low, 0)
        away = np.where(apart, self.geodesic[place].astype(np.float64), 0.0)
        return np.where(low >= 0, away, np.inf)


def point_similarity(distance: Floats, normaliser: Floats) -> Floats:
    """Return ``exp(-d^2 / (2 k^2))``, 0 for an infinite distance.

    Examples
    --------
    >>> point_similarity(np.array([0.0, 0.255, np.inf]), np.array([0.255])).round(4)
    array([1.    , 0.6065, 0.    ])
    """
    return np.asarray(np.exp(-(distance**2) / (2 * normaliser**2)))


def geodesic_point_similarity(
    predicted: Ints, truth: Ints, normaliser: Floats, counts: Sequence[int], surface: Surface
) -> Floats:
    """Return the mean similarity (D, G) of each detection over each person's annotated points.

    Parameters
    ----------
    predicted : int array (D, N)
        Body vertex that each detection gives to each point; ``BACKGROUND`` where it gives none.
    truth : int array (N,)
        True body vertex of each point, the points of one person after those of another.
    normaliser : array (N,)
        In metres.
    counts : sequence of int
        Number of points of each of the G people; one without any has similarity 0.
    surface : Surface
    """
    result = np.zeros((len(predicted), len(counts)))
    away = surface.distance(predicted, np.broadcast_to(truth, predicted.shape))
    similarity = point_similarity(away, normaliser)
    start = 0
    for person, count in enumerate(counts):
        if count:
            result[:, person] = similarity[:, start : start + count].mean(axis=1)
        start += count
    return result
