"""Joints and part affinity fields of an image's people, as an ideal network puts them out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def affinity_targets(
    joints: NDArray[np.float64],
    visible: NDArray[np.bool_],
    limbs: Sequence[tuple[int, int]],
    size: tuple[int, int],
    stride: int,
    sigma: float,
    reach: float = 1.0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw people as the maps and fields of an ideal network.

    Parameters
    ----------
    joints, visible : arrays (n, K, 2) and (n, K)
        Input pixels, and what is drawn.
    limbs : sequence of (int, int)
    size : (int, int)
        Height, width of the maps.
    stride : int
        Input pixels per map pixel.
    sigma : float
        Of the joints' Gaussians (highest wins, cut off at 1 %), in input pixels.
    reach : float
        Half the width of a limb and its overhang at both ends, in map pixels.

    Returns
    -------
    maps : array (K + 1, h, w)
        Joints, and the background: 1 less the highest of them.
    fields : array (2 L, h, w)
        x and y of each limb's unit vector; the mean where limbs of several people overlap.
    """
    height, width = size
    cells = (joints + 0.5) / stride - 0.5
    sigma = sigma / stride
    maps = np.zeros((joints.shape[1] + 1, height, width), np.float32)
    places = cells.tolist()
    for person, joint in np.argwhere(visible).tolist():
        center = places[person][joint]
        rows, columns, dy, dx = _window(center, center, 3.1 * sigma, size)
        drawn = np.exp(-(dx**2 + dy**2) / (2 * sigma**2))
        own = maps[joint, rows, columns]
        np.maximum(own, np.where(drawn < 0.01, 0, drawn), out=own)
    maps[-1] = 1 - maps[:-1].max(axis=0)
    fields = np.zeros((len(limbs), 2, height, width), np.float32)
    count = np.zeros((len(limbs), 1, height, width), np.float32)
    for limb, (a, b) in enumerate(limbs):
        for person in np.flatnonzero(visible[:, a] & visible[:, b]).tolist():
            start, end = places[person][a], places[person][b]
            unit = (cells[person, b] - cells[person, a]) / max(math.dist(start, end), 1e-7)
            rows, columns, dy, dx = _window(start, end, reach, size)
            near = np.abs(dx * unit[1] - dy * unit[0]) <= reach
            fields[limb, :, rows, columns] += unit[:, None, None] * near
            count[limb, 0, rows, columns] += near
    fields /= np.maximum(count, 1)
    return maps, fields.reshape(-1, height, width)


def _window(
    start: Sequence[float], end: Sequence[float], reach: float, size: tuple[int, int]
) -> tuple[slice, slice, NDArray[np.float64], NDArray[np.float64]]:
    """Return rows and columns of the pixels around two points, and their offsets y, x from one."""
    columns, rows = (
        slice(
            max(math.ceil(min(first, last) - reach), 0),
            max(min(math.floor(max(first, last) + reach) + 1, limit), 0),
        )
        for first, last, limit in zip(start, end, reversed(size), strict=True)
    )
    y = np.arange(rows.start, rows.stop)[:, None] - start[1]
    x = np.arange(columns.start, columns.stop)[None] - start[0]
    return rows, columns, y, x
