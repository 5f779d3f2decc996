"""Synthetic occlusion: objects pasted over a training image.

Sarandi, Linder, Arras, Leibe: How Robust is 3D Human Pose Estimation to Occlusion?, IROS
workshops 2018. Facts from isarandi/synthetic-occlusion @ 3d627bb.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Object = NDArray[np.uint8]
"""RGBA (h, w, 4); alpha 0 is outside, 192 a softened border."""


def occlude(
    image: NDArray[np.uint8], objects: list[Object], random: np.random.Generator
) -> NDArray[np.uint8]:
    """Paste one to seven objects anywhere over an image (h, w, 3); a copy is returned.

    Their sizes are 0.2 to 1 times the image's shorter side over 256, as in the official code.
    """
    result = image.copy()
    height, width = image.shape[:2]
    unit = min(width, height) / 256
    for _ in range(int(random.integers(1, 8))):
        thing = objects[int(random.integers(len(objects)))]
        factor = random.uniform(0.2, 1.0) * unit
        size = tuple(max(1, round(factor * side)) for side in (thing.shape[1], thing.shape[0]))
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        small = np.asarray(cv2.resize(thing, size, interpolation=how))
        paste(result, small, random.uniform((0, 0), (width, height)))
    return result


def paste(image: NDArray[np.uint8], thing: Object, center: NDArray[np.float64]) -> None:
    """Blend an object into an image around a centre (x, y); what lies outside is cut off."""
    high, wide = thing.shape[:2]
    left, top = np.round(center - np.array([wide, high]) / 2).astype(int)
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(image.shape[1], left + wide), min(image.shape[0], top + high)
    if x0 >= x1 or y0 >= y1:
        return
    part = thing[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32)
    alpha = part[..., 3:] / 255
    below = image[y0:y1, x0:x1]
    image[y0:y1, x0:x1] = (alpha * part[..., :3] + (1 - alpha) * below).astype(np.uint8)


def blobs(count: int, random: np.random.Generator) -> list[Object]:
    """Draw soft ellipses of one colour each, for training without Pascal VOC's objects."""
    things = []
    for _ in range(count):
        width, height = random.integers(60, 200, 2).tolist()
        thing = np.zeros((height, width, 4), np.uint8)
        thing[..., :3] = random.integers(0, 256, 3)
        alpha = np.zeros((height, width), np.uint8)
        cv2.ellipse(alpha, (width // 2, height // 2), (width // 2, height // 2), 0, 0, 360, 192, -1)
        inner = (max(1, width // 2 - 4), max(1, height // 2 - 4))
        cv2.ellipse(alpha, (width // 2, height // 2), inner, 0, 0, 360, 255, -1)
        thing[..., 3] = alpha
        things.append(thing)
    return things
