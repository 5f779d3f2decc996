"""Overlap of detected and annotated boxes with COCO's rule for crowds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def crowd_iou(
    detected: Floats,
    annotated: Floats,
    crowd: NDArray[np.bool_],
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> Floats:
    """Return the IoU (P,) of pairs of boxes; with a crowd, the detection's share inside it.

    Boxes are x, y, w, h on a continuous plane. Bit for bit that of pycocotools 2.0 (``bbIou``).

    Parameters
    ----------
    detected : array (D, 4)
    annotated : array (G, 4)
    crowd : bool array (G,)
    pairs : two int arrays (P,)
        Row of ``detected`` and row of ``annotated`` of each pair.

    Examples
    --------
    >>> boxes = np.array([[0.0, 0, 2, 2], [1, 0, 2, 2]])
    >>> same = np.array([0, 0])
    >>> crowd_iou(boxes, boxes, np.array([False, True]), (same, np.array([0, 1])))
    array([1. , 0.5])
    """
    first, second = detected[pairs[0]], annotated[pairs[1]]
    end = np.minimum(first[:, :2] + first[:, 2:], second[:, :2] + second[:, 2:])
    side = np.maximum(end - np.maximum(first[:, :2], second[:, :2]), 0.0)
    common = side[:, 0] * side[:, 1]
    own, other = first[:, 2] * first[:, 3], second[:, 2] * second[:, 3]
    whole = np.where(crowd[pairs[1]], own, own + other - common)
    overlap: Floats = np.divide(common, whole, out=np.zeros_like(common), where=common > 0)
    return overlap
