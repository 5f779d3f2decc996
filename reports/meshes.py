"""Meshes drawn over a picture: shaded triangles, the farther ones first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_COLOUR = np.array([226.0, 188.0, 150.0])  # BGR
_LIGHT = np.array([-0.35, -0.5, -0.8])
_OPACITY = 0.85


def draw_mesh(
    image: NDArray[np.uint8],
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Draw a mesh over a picture.

    Parameters
    ----------
    image : array (h, w, 3)
        BGR; is left as it is.
    vertices : array (V, 3)
        x and y in pixels of the picture, z in the same unit, away from the camera.
    faces : int array (F, 3)
        Triangles; both sides are lit alike.
    """
    import cv2

    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    light = np.abs(normals @ _LIGHT) / np.maximum(length * np.linalg.norm(_LIGHT), 1e-12)
    colours = (0.35 + 0.65 * light)[:, None] * _COLOUR
    drawn = image.copy()
    fine = np.round(corners[..., :2] * 16).astype(np.int32)  # OpenCV's fixed point: 4 bits
    for face in np.argsort(-corners[..., 2].mean(axis=1), kind="stable").tolist():
        cv2.fillConvexPoly(drawn, fine[face], colours[face].tolist(), cv2.LINE_AA, shift=4)
    mixed = cv2.addWeighted(drawn, _OPACITY, image, 1 - _OPACITY, 0)
    return np.asarray(mixed, np.uint8)
