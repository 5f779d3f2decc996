"""Several views of a person, and their maps averaged on the image's own pixels, as CPM tests."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from methods.parts.crop import REGION_UNIT, Regions


def view_matrices(
    regions: Regions, factors: Sequence[float], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the matrices (n, views, 2, 3) from image pixels to pixels of each view.

    A view is its factor times as high as the region, ``size`` (W, H) pixels large, and has the
    region's centre at (W / 2 - 1, H / 2 - 1).
    """
    width, height = size
    matrices = np.zeros((len(regions), len(factors), 2, 3))
    scales = height / (regions.sizes[:, 1:].astype(np.float64) * REGION_UNIT * factors)
    matrices[:, :, 0, 0] = matrices[:, :, 1, 1] = scales
    middle = np.array([width / 2 - 1, height / 2 - 1])
    matrices[..., 2] = middle - scales[..., None] * regions.centers[:, None]
    return matrices


def cut_views(
    image: NDArray[np.uint8], matrices: NDArray[np.float64], size: tuple[int, int], border: int
) -> NDArray[np.uint8]:
    """Cut views (..., H, W, 3) out of an image: bicubic, a grey ``border`` outside of it."""
    flat = matrices.reshape(-1, 2, 3)
    rows = np.empty((len(flat), size[1], size[0], 3), np.uint8)
    for row, matrix in enumerate(flat):
        rows[row] = cv2.warpAffine(
            image, matrix, size, flags=cv2.INTER_CUBIC, borderValue=(border,) * 3
        )
    return rows


def averaged_views(
    maps: NDArray[np.float32],
    matrices: NDArray[np.float64],
    view_size: tuple[int, int],
    image_size: tuple[int, int],
    stride: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Average the views' maps on the image pixels of the widest view.

    Parameters
    ----------
    maps : array (views, K, h, w)
        Of the first, widest view and the others.
    matrices : array (views, 2, 3)
        From image pixels to pixels of the views.
    view_size, image_size : (W, H)
    stride : int
        Pixels of a view per pixel of its map.

    Returns
    -------
    mean : array (K, rows, columns)
        Bicubic, 0 where a view does not reach.
    first : int array (2,)
        x, y of its first pixel in the image; pixels outside the image are left out.
    """
    inverse = cv2.invertAffineTransform(matrices[0])
    corners = inverse @ np.array([[0, view_size[0]], [0, view_size[1]], [1, 1]])
    limit = np.array(image_size) - 1
    first = np.clip(np.floor(corners[:, 0]), 0, limit).astype(np.int64)
    last = np.clip(np.ceil(corners[:, 1]), 0, limit).astype(np.int64)
    window = (last - first + 1).tolist()
    mean = np.zeros((maps.shape[1], window[1], window[0]), np.float32)
    for view, matrix in zip(maps, matrices, strict=True):
        # From a pixel of the window to one of the map, whose first has its middle at
        # (stride - 1) / 2 in the view.
        to_map = matrix.copy()
        to_map[:, 2] += matrix[:, :2] @ first - (stride - 1) / 2
        for joint, belief in enumerate(view):
            mean[joint] += cv2.warpAffine(
                belief, to_map / stride, window, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
            )
    return mean / len(maps), first
