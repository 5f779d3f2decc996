"""Crops with whole-pixel corners: stacked hourglass and CPN cut boxes out before they resize."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from methods.parts.crop import REGION_UNIT, Regions


def truncated_corners(regions: Regions, output: tuple[int, int]) -> NDArray[np.int64]:
    """Return x0, y0, x1, y1 (n, 4) of regions, truncated towards zero.

    The corners go through the inverse of the crop's matrix as in the official code of stacked
    hourglass (pytorch_stacked_hourglass @ ceedc14): its rounding decides where a corner is whole.
    """
    corners = np.empty((len(regions), 4), np.int64)
    for row, (center, size) in enumerate(zip(regions.centers, regions.sizes, strict=True)):
        extent = REGION_UNIT * size.astype(np.float64)
        grid = np.array(output, np.float64)
        matrix = np.eye(3)
        matrix[[0, 1], [0, 1]] = grid / extent
        matrix[:2, 2] = grid * (-center.astype(np.float64) / extent + 0.5)
        inverse = np.linalg.inv(matrix)
        corners[row, :2] = (inverse @ (0, 0, 1))[:2].astype(np.int64)
        corners[row, 2:] = (inverse @ (*output, 1))[:2].astype(np.int64)
    return corners


def cut_corners(
    image: NDArray[np.uint8],
    corners: NDArray[np.int64],
    output: tuple[int, int],
    border: Sequence[int] = (0, 0, 0),
) -> NDArray[np.uint8]:
    """Cut x0, y0, x1, y1 (n, 4; x1, y1 outside) out of an image and resize: (n, H, W, 3).

    ``border`` is the colour outside the image, ``output`` (W, H). Bilinear, without smoothing. A
    corner box thinner than a pixel is a pixel wide.
    """
    height, width = image.shape[:2]
    result = np.empty((len(corners), output[1], output[0], 3), np.uint8)
    for row, (left, top, right, bottom) in enumerate(corners.tolist()):
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        canvas = np.empty((bottom - top, right - left, 3), np.uint8)
        canvas[:] = border
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(right, width), min(bottom, height)
        if x0 < x1 and y0 < y1:
            canvas[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
        result[row] = cv2.resize(canvas, output, interpolation=cv2.INTER_LINEAR)
    return result


def linear_to_image(
    points: NDArray[Any], regions: Regions, grid: tuple[int, int]
) -> NDArray[np.float64]:
    """Map points (n, K, 2) on a grid (W, H) to image pixels: 0 and W are the region's edges.

    Unlike :func:`methods.parts.crop.to_image`, width and height have a scale each.
    """
    centers = regions.centers.astype(np.float64)[:, None]
    extents = regions.sizes.astype(np.float64)[:, None] * REGION_UNIT
    return centers + (np.asarray(points, np.float64) / grid - 0.5) * extents
