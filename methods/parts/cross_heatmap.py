"""Non-maximum suppression across heatmaps ("3D-NMS"): one place is given to one joint.

Ning, Zhang, He, IEEE TMM 2018; facts from Guanghan/GNet-pose @ c70e0fc.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def cross_heatmap_nms(
    heatmaps: NDArray[Any], size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Choose one blob per heatmap so that no two joints share a blob's place ("3D-NMS").

    The most confident blob of all maps is taken for its map; what lies within the mean of the two
    diameters in other maps is dropped, and so on. A map that loses all its blobs falls back to
    its own strongest.

    Parameters
    ----------
    heatmaps : array (K, h, w)
    size : (int, int)
        Width, height of the crop, to which maps are enlarged.

    Returns
    -------
    points : array (K, 2)
        Whole pixels of the crop, truncated.
    scores : array (K,)
        Height of the chosen blobs' places, 0 to 1.
    """
    maps = [cv2.resize(inverted(heatmap), size) for heatmap in heatmaps]
    own = [blobs(image) for image in maps]
    chosen = [min(found, key=lambda blob: blob[0]) for found in own]  # the fallback
    left = sorted((value, joint, x, y, d) for joint, b in enumerate(own) for value, x, y, d in b)
    while left:
        value, joint, x, y, diameter = left[0]
        chosen[joint] = (value, x, y, diameter)
        left = [
            other
            for other in left
            if other[1] != joint
            and np.hypot(other[2] - x, other[3] - y) > (other[4] + diameter) / 2
        ]
    points = np.array([[int(x), int(y)] for _, x, y, _ in chosen], dtype=np.float64)
    return points, np.array([1 - value / 255 for value, *_ in chosen])


def inverted(heatmap: NDArray[Any]) -> NDArray[np.uint8]:
    """Turn a heatmap into grey levels, 0 for 1 and 255 for 0; below and above are clipped."""
    return (255 - 255 * heatmap.clip(0, 1)).astype(np.uint8)


def blobs(image: NDArray[np.uint8]) -> list[tuple[float, float, float, float]]:
    """Return dark blobs as (grey level, x, y, diameter); at least the darkest pixel, diameter 0."""
    parameters = cv2.SimpleBlobDetector_Params()
    parameters.minThreshold, parameters.maxThreshold = 1, 255
    parameters.filterByArea, parameters.minArea = True, 1
    parameters.filterByColor = parameters.filterByCircularity = False
    parameters.filterByConvexity = parameters.filterByInertia = False
    found = [
        (float(image[int(y), int(x)]), x, y, key.size)
        for key in cv2.SimpleBlobDetector_create(parameters).detect(image)
        for x, y in [key.pt]
    ]
    if not found:
        y, x = np.unravel_index(int(image.argmin()), image.shape)
        found = [(float(image[y, x]), float(x), float(y), 0.0)]
    return found
