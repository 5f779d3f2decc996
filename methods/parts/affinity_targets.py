"""Joints and part affinity fields of an image's people, as an ideal network puts them out."""

from __future__ import annotations

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
    rows, columns = np.arange(height), np.arange(width)
    scale = 2 * (sigma / stride) ** 2
    maps = np.zeros((joints.shape[1] + 1, height, width), np.float32)
    for person, seen in zip(cells, visible, strict=True):
        x, y = person[seen].T
        drawn = (
            np.exp(-((rows - y[:, None]) ** 2) / scale)[:, :, None]
            * np.exp(-((columns - x[:, None]) ** 2) / scale)[:, None, :]
        )
        own = np.flatnonzero(seen)
        maps[own] = np.maximum(maps[own], np.where(drawn < 0.01, 0, drawn))
    maps[-1] = 1 - maps[:-1].max(axis=0)
    fields = np.zeros((len(limbs), 2, height, width), np.float32)
    for limb, (a, b) in enumerate(limbs):
        both = visible[:, a] & visible[:, b]
        strips = _strips(cells[both, a], cells[both, b], size, reach)
        along = cells[both, b] - cells[both, a]
        units = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-7)
        total = np.einsum("nd,nhw->dhw", units, strips)
        fields[limb] = total / np.maximum(strips.sum(axis=0), 1)
    return maps, fields.reshape(-1, height, width)


def _strips(
    start: NDArray[np.float64], end: NDArray[np.float64], size: tuple[int, int], reach: float
) -> NDArray[np.float64]:
    """Return 1 near the lines from start to end (n, 2), 0 elsewhere: (n, h, w)."""
    y, x = np.mgrid[: size[0], : size[1]]
    along = end - start
    units = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-7)
    low, high = np.minimum(start, end) - reach, np.maximum(start, end) + reach
    offset_x, offset_y = x - start[:, 0, None, None], y - start[:, 1, None, None]
    across = np.abs(offset_x * units[:, 1, None, None] - offset_y * units[:, 0, None, None])
    near = across <= reach
    near &= (x >= low[:, 0, None, None]) & (x <= high[:, 0, None, None])
    near &= (y >= low[:, 1, None, None]) & (y <= high[:, 1, None, None])
    return near.astype(np.float64)
