"""Rasterising the embedded world: triangles to pixels, exactly and the same on every machine.

Corners are snapped to 1/256 pixel and the depth test is an order-free integer maximum, so no
processor's rounding can move a pixel from one person to another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SNAP = 256
NEAR = 0.25  # metres; triangles closer to the camera are left out
_FACE_BITS = 20


@dataclass(frozen=True, eq=False)
class Hits:
    """What a buffer's pixels show.

    Parameters
    ----------
    pixels : int array (N,)
        Flat pixel numbers, rising, of all pixels that show a face.
    faces : int array (N,)
    corners : array (N, 3)
        Barycentric weights of the face's corners.
    depth : array (N,)
        Distance along the optical axis in metres.
    """

    pixels: Ints
    faces: Ints
    corners: Floats
    depth: Floats


def rasterise(points: Floats, depth: Floats, faces: Ints, size: tuple[int, int]) -> Hits:
    """Find the nearest face at every pixel.

    Parameters
    ----------
    points : array (V, 2)
        Projected vertices x, y in pixels; whole numbers at pixel centres.
    depth : array (V,)
        Distance of the vertices along the optical axis in metres.
    faces : int array (F, 3)
        Anticlockwise seen from outside; faces that look away are not drawn.
    size : (height, width)
    """
    height, width = size
    snapped = np.round(points * _SNAP)
    nearness = 1 / np.maximum(depth, NEAR)
    corner_x, corner_y = snapped[faces, 0], snapped[faces, 1]
    area = _edge(corner_x[:, 0], corner_y[:, 0], corner_x[:, 1], corner_y[:, 1],
                 corner_x[:, 2], corner_y[:, 2])  # fmt: skip
    left = np.maximum(np.ceil(corner_x.min(axis=1) / _SNAP), 0).astype(np.int64)
    right = np.minimum(np.floor(corner_x.max(axis=1) / _SNAP), width - 1).astype(np.int64)
    top = np.maximum(np.ceil(corner_y.min(axis=1) / _SNAP), 0).astype(np.int64)
    bottom = np.minimum(np.floor(corner_y.max(axis=1) / _SNAP), height - 1).astype(np.int64)
    drawn = np.flatnonzero(
        (area < 0) & (left <= right) & (top <= bottom) & (depth[faces].min(axis=1) > NEAR)
    )
    columns, rows = (right - left + 1)[drawn], (bottom - top + 1)[drawn]
    counts = columns * rows
    owner = np.repeat(np.arange(len(drawn)), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    row = place // columns[owner]
    x = left[drawn][owner] + place - row * columns[owner]
    y = top[drawn][owner] + row
    weights = _corner_weights(corner_x[drawn], corner_y[drawn], area[drawn], owner, x, y)
    inside = np.flatnonzero((weights[0] >= 0) & (weights[1] >= 0) & (weights[2] >= 0))
    face = drawn[owner[inside]]
    near = sum(w[inside] * nearness[faces[face, i]] for i, w in enumerate(weights))
    # Nearness in the high bits, the face in the low ones: a maximum settles both.
    key = (np.round(near * (1 << 28)).astype(np.int64) << _FACE_BITS) | face
    buffer = np.full(height * width, -1, dtype=np.int64)
    np.maximum.at(buffer, y[inside] * width + x[inside], key)
    pixels = np.flatnonzero(buffer >= 0)
    hit = buffer[pixels] & ((1 << _FACE_BITS) - 1)
    corners = np.stack(
        _corner_weights(corner_x, corner_y, area, hit, pixels % width, pixels // width), axis=1
    )
    return Hits(pixels, hit, corners, (1 << 28) / (buffer[pixels] >> _FACE_BITS))


def _edge(ax: Floats, ay: Floats, bx: Floats, by: Floats, px: Floats, py: Floats) -> Floats:
    """Return twice the signed area of the triangles a, b, p; exact for snapped corners."""
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


def _corner_weights(
    corner_x: Floats, corner_y: Floats, area: Floats, owner: Ints, x: Ints, y: Ints
) -> list[Floats]:
    """Return the three barycentric weights of pixels (N,) in the faces that own them."""
    px, py = x * float(_SNAP), y * float(_SNAP)
    result = []
    for i in range(3):
        a, b = (i + 1) % 3, (i + 2) % 3
        # An edge's value is linear in the pixel: a gather of three numbers instead of four.
        dx, dy = corner_x[:, b] - corner_x[:, a], corner_y[:, b] - corner_y[:, a]
        constant = dy * corner_x[:, a] - dx * corner_y[:, a]
        result.append((dx[owner] * py - dy[owner] * px + constant[owner]) / area[owner])
    return result
