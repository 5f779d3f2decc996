"""Person crops: box -> region of the image -> network input, and back.

A *region* is a centre (x, y) in image pixels and a size (width, height) in units of 200 pixels, the
unit of MPII's ``scale``. Everything is computed in float32 where the official code does so
(SimpleBaseline @ 49f3f44, HRNet @ 6f69e46), so crops are equal to its crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.api import Sample, SampleError

REGION_UNIT = 200.0
"""Pixels in one unit of a region's size."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of one image: centers (n, 2) in pixels, sizes (n, 2) in units of 200 pixels."""

    centers: NDArray[np.float32]
    sizes: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.centers)

    @property
    def areas(self) -> NDArray[np.float64]:
        """Area of each region in square pixels, (n,)."""
        return np.prod(self.sizes.astype(np.float64) * REGION_UNIT, axis=1)


def regions_of(sample: Sample, aspect: float, padding: float) -> Regions:
    """Return the regions of a sample's people.

    From its ``boxes``, or where it has none from ``center`` and ``scale`` as MPII gives them.

    Raises
    ------
    SampleError
        If a box has no area.
    """
    if sample.boxes is None:
        return regions_of_centers(sample.inputs["center"], sample.inputs["scale"])
    flat = np.flatnonzero(~(sample.boxes[:, 2:] > 0).all(axis=1))
    if len(flat):
        box = sample.boxes[flat[0]].tolist()
        raise SampleError(sample.id, f"box {flat[0]} has no area: x, y, w, h = {box}")
    return regions_of_boxes(sample.boxes, aspect, padding)


def regions_of_boxes(boxes: NDArray[Any], aspect: float, padding: float) -> Regions:
    """Grow boxes x, y, w, h (n, 4) to an aspect (width / height), then by a factor.

    The box's short side grows until the aspect fits; the centre stays.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    width, height = boxes[:, 2], boxes[:, 3]
    grown = np.stack(
        [np.maximum(width, height * aspect), np.maximum(height, width / aspect)], axis=1
    )
    centers = boxes[:, :2] + boxes[:, 2:] * 0.5
    sizes = (grown / REGION_UNIT).astype(np.float32) * np.float32(padding)
    return Regions(centers.astype(np.float32), sizes)


def regions_of_centers(centers: NDArray[Any], scales: NDArray[Any]) -> Regions:
    """Return MPII's regions: the 0-based centre moved down by 15 scales, a square grown by 1.25."""
    centers = np.asarray(centers, dtype=np.float64).reshape(-1, 2)
    scales = np.asarray(scales, dtype=np.float64).reshape(-1, 1)
    moved = centers + np.concatenate([np.zeros_like(scales), 15.0 * scales], axis=1)
    sizes = np.repeat(scales * 1.25, 2, axis=1)
    return Regions(moved.astype(np.float32), sizes.astype(np.float32))


def three_point_affine(
    center: Sequence[float] | NDArray[Any],
    region_width: float,
    output: tuple[int, int],
    rotation: float = 0.0,
    inverse: bool = False,
) -> NDArray[np.float64]:
    """Return the "biased" affine matrix (2, 3) of SimpleBaseline and HRNet.

    It maps the centre to (W * 0.5, H * 0.5), the point half a region width above it (turned by the
    rotation) to the one half an output width above that, and a third point at a right angle. Only
    the region's *width* sets the scale.

    Parameters
    ----------
    center : (2,)
        Pixels.
    region_width : float
        Pixels.
    output : (int, int)
        Width, height of the crop or of the heatmap.
    rotation : float
        Degrees.
    inverse : bool
        Whether to map from the output to the image.
    """
    angle = np.pi * rotation / 180
    up = -0.5 * region_width
    source, target = np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32)
    source[0] = center
    source[1] = center + np.array([-up * np.sin(angle), up * np.cos(angle)])
    target[0] = output[0] * 0.5, output[1] * 0.5
    target[1] = target[0] + np.array([0, -0.5 * output[0]], np.float32)
    for points in (source, target):
        across = points[0] - points[1]
        points[2] = points[1] + np.array([-across[1], across[0]], np.float32)
    if inverse:
        source, target = target, source
    return np.asarray(cv2.getAffineTransform(source, target), dtype=np.float64)


def warp(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], output: tuple[int, int]
) -> NDArray[np.uint8]:
    """Cut out a crop (height, width, 3): bilinear, 0 outside the image; ``output`` (W, H)."""
    return np.asarray(cv2.warpAffine(image, matrix, output, flags=cv2.INTER_LINEAR), np.uint8)


def transform(points: NDArray[Any], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply an affine matrix (2, 3) to points (..., 2)."""
    return np.asarray(points, dtype=np.float64) @ matrix[:, :2].T + matrix[:, 2]


def crops(image: NDArray[np.uint8], regions: Regions, output: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut every region out of an image: (n, H, W, 3); ``output`` is (W, H)."""
    result = np.empty((len(regions), output[1], output[0], 3), np.uint8)
    for row, (center, size) in enumerate(zip(regions.centers, regions.sizes, strict=True)):
        result[row] = warp(image, three_point_affine(center, size[0] * REGION_UNIT, output), output)
    return result


def to_image(points: NDArray[Any], regions: Regions, grid: tuple[int, int]) -> NDArray[np.float64]:
    """Map points (n, K, 2) on a grid (W, H) that covers the regions back to image pixels."""
    result = np.empty(points.shape, np.float64)
    for row, (center, size) in enumerate(zip(regions.centers, regions.sizes, strict=True)):
        matrix = three_point_affine(center, size[0] * REGION_UNIT, grid, inverse=True)
        result[row] = transform(points[row], matrix)
    return result
