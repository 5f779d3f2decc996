"""Depth images: the files of NYU, ICVL and MSRA, and the points that they show."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.api import Sample, SampleError


def read_depth(sample: Sample) -> NDArray[np.float32]:
    """Read a sample's depth image (height, width) in millimetres; 0 where nothing was measured.

    A PNG of three channels is NYU's (green holds the upper, blue the lower eight bits), one of 16
    bits is ICVL's, ``.bin`` is MSRA's: six int32 (width, height, left, top, right, bottom of the
    part that is stored) and float32 values of that part.

    Raises
    ------
    SampleError
        If the file is missing or no such image.
    """
    path = Path(sample.images[0])
    if not path.is_file():
        raise SampleError(sample.id, f"depth image {path} does not exist")
    if path.suffix == ".bin":
        return _read_bin(sample, path)
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise SampleError(sample.id, f"depth image {path} cannot be decoded")
    if image.ndim == 3 and image.dtype == np.uint8:
        return np.asarray(image[..., 0] + 256.0 * image[..., 1], np.float32)
    if image.ndim == 2 and image.dtype == np.uint16:
        return image.astype(np.float32)
    raise SampleError(
        sample.id, f"depth image {path} has shape {image.shape} of {image.dtype}: neither NYU's "
        "three channels of 8 bits nor one of 16"
    )  # fmt: skip


def _read_bin(sample: Sample, path: Path) -> NDArray[np.float32]:
    data = path.read_bytes()
    header = np.frombuffer(data[:24], "<i4")
    if len(header) == 6:
        width, height, left, top, right, bottom = header.tolist()
        part = np.frombuffer(data[24:], "<f4")
        inside = 0 <= left < right <= width and 0 <= top < bottom <= height
        if inside and len(part) == (right - left) * (bottom - top):
            depth = np.zeros((height, width), np.float32)
            depth[top:bottom, left:right] = part.reshape(bottom - top, right - left)
            return depth
    raise SampleError(sample.id, f"depth image {path} is no complete file of MSRA's kind")


def points_near(
    depth: NDArray[np.float32],
    camera: NDArray[np.float64],
    center: NDArray[np.float64],
    reach: float,
) -> NDArray[np.float64]:
    """Return the measured points (n, 3), millimetres, whose depth is within reach of a centre's."""
    v, u = np.nonzero((depth > 0) & (np.abs(depth - center[2]) <= reach))
    z = depth[v, u].astype(np.float64)
    x = (u - camera[0, 2]) * z / camera[0, 0]
    y = (v - camera[1, 2]) * z / camera[1, 1]
    return np.stack([x, y, z], axis=1)
