"""Overlap of boxes, and points within polygons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def iou_matrix(first: Floats, second: Floats) -> Floats:
    """Return the IoU (n, m) of boxes x, y, w, h (n, 4) and (m, 4) on a continuous plane.

    Areas are taken between the corners, as py-motmetrics and TrackEval do: the last bit of
    x + w - x is not always that of w.

    Examples
    --------
    >>> iou_matrix(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 2, 2], [5, 5, 1, 1]]))
    array([[0.33333333, 0.        ]])
    """
    ends = [boxes[:, :2] + boxes[:, 2:] for boxes in (first, second)]
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(ends[0][:, None], ends[1][None, :])
    common = np.maximum(high - low, 0).prod(axis=-1)
    area = [
        np.maximum(end - boxes[:, :2], 0).prod(axis=1)
        for end, boxes in zip(ends, (first, second), strict=True)
    ]
    union = area[0][:, None] + area[1][None, :] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=common > 0))


def pixel_iou(first: Floats, second: Floats) -> Floats:
    """Return the IoU (n,) of boxes x, y, w, h (n, 4), row by row, that count whole pixels.

    Both edge pixels belong to a box, so its last column is x + w - 1 (OTB: ``calcRectInt``).
    """
    last = [boxes[:, :2] + boxes[:, 2:] - 1 for boxes in (first, second)]
    sides = np.minimum(*last) - np.maximum(first[:, :2], second[:, :2]) + 1
    common = np.maximum(sides, 0).prod(axis=1)
    union = first[:, 2:].prod(axis=1) + second[:, 2:].prod(axis=1) - common
    return np.asarray(common / np.where(union == 0, np.nan, union))


def inside(points: Floats, polygon: Floats) -> Bools:
    """Return which points (n, 2) lie strictly inside a closed polygon (m, 2).

    The even-odd rule holds where the outline crosses itself. The outline itself is outside, and so
    is a NaN point.

    Examples
    --------
    >>> square = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    >>> inside(np.array([[1.0, 1], [4, 2], [5, 5]]), square)
    array([ True, False, False])
    """
    x, y = points[:, 0, None], points[:, 1, None]
    start, end = polygon, np.roll(polygon, -1, axis=0)
    across = (end[:, 0] - start[:, 0]) * (y - start[:, 1]) - (x - start[:, 0]) * (
        end[:, 1] - start[:, 1]
    )
    low, high = np.minimum(start, end), np.maximum(start, end)
    within = (low[:, 0] <= x) & (x <= high[:, 0]) & (low[:, 1] <= y) & (y <= high[:, 1])
    outline = ((across == 0) & within).any(axis=1)
    # Edges that a ray to the right crosses; the half-open comparison counts a vertex once.
    upward = (start[:, 1] <= y) & (y < end[:, 1]) & (across > 0)
    downward = (end[:, 1] <= y) & (y < start[:, 1]) & (across < 0)
    crossings = (upward | downward).sum(axis=1)
    return np.asarray((crossings % 2 == 1) & ~outline)
