"""Pinhole cameras: projection, back-projection, and poses in image space.

A camera is its matrix (3, 3) of focal lengths and principal point, in pixels. *Image space* is what
LCN, integral and volumetric regression predict in: x and y in pixels, z in pixels too, relative to
the root and scaled as lengths at the root's depth are. With the root's depth known, image space and
the camera's frame say the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def project(points: NDArray[Any], camera: NDArray[Any]) -> Floats:
    """Return the pixels (..., 2) of points (..., 3) in the camera's frame, z > 0.

    Examples
    --------
    >>> camera = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    >>> project(np.array([1.0, 2, 10]), camera)
    array([60., 60.])
    """
    focal, centre = camera[[0, 1], [0, 1]], camera[:2, 2]
    return np.asarray(points[..., :2] / points[..., 2:] * focal + centre)


def back_project(pixels: NDArray[Any], depth: NDArray[Any], camera: NDArray[Any]) -> Floats:
    """Return the points (..., 3) that lie behind pixels (..., 2) at depths (...)."""
    focal, centre = camera[[0, 1], [0, 1]], camera[:2, 2]
    plane = (pixels - centre) / focal * depth[..., None]
    return np.concatenate([plane, depth[..., None]], axis=-1)


def to_image_space(joints: NDArray[Any], camera: NDArray[Any], root_depth: NDArray[Any]) -> Floats:
    """Turn joints (n, K, 3) in millimetres into image space; ``root_depth`` (n,) in millimetres."""
    depth = np.asarray(root_depth)[:, None, None]
    height = (joints[..., 2:] - depth) * camera[0, 0] / depth
    return np.concatenate([project(joints, camera), height], axis=-1)


def from_image_space(
    joints: NDArray[Any], camera: NDArray[Any], root_depth: NDArray[Any]
) -> Floats:
    """Undo :func:`to_image_space`: joints (n, K, 3) in millimetres, the camera's frame."""
    depth = np.asarray(root_depth)[:, None]
    return back_project(joints[..., :2], joints[..., 2] * depth / camera[0, 0] + depth, camera)
